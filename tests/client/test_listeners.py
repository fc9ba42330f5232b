"""The registry of listeners: order, snapshots, which one is taken out."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from mainbus.listeners import Listeners


@dataclass(eq=False)
class Entry:
    fn: Callable[..., object]


class Owner:
    def method(self) -> None: ...


@pytest.mark.contract("2.6")
def test_registration_order_and_duplicates() -> None:
    listeners: Listeners[Entry] = Listeners()
    entries = [Entry(print), Entry(repr), Entry(print)]
    for entry in entries:
        listeners.add("x", entry)
    listeners.add("y", Entry(len))
    assert listeners.get("x") == tuple(entries)
    assert listeners.get("z") == ()


@pytest.mark.contract("2.6")
def test_a_lookup_is_a_snapshot() -> None:
    listeners: Listeners[Entry] = Listeners()
    first, second = Entry(print), Entry(repr)
    listeners.add("x", first)
    before = listeners.get("x")
    assert listeners.get("x") is before, "nothing is copied while nothing changes"
    listeners.add("x", second)
    listeners.remove("x", first)
    assert before == (first,)
    assert listeners.get("x") == (second,)


@pytest.mark.contract("2.6")
def test_off_takes_the_latest() -> None:
    listeners: Listeners[Entry] = Listeners()
    entries = [Entry(print), Entry(repr), Entry(print), Entry(repr)]
    for entry in entries:
        listeners.add("x", entry)
    listeners.remove_latest("x", print)
    assert listeners.get("x") == (entries[0], entries[1], entries[3])
    listeners.remove_latest("x", len)
    listeners.remove_latest("y", print)
    assert len(listeners.get("x")) == 3


def test_bound_methods_are_known_by_their_object() -> None:
    listeners: Listeners[Entry] = Listeners()
    one, other = Owner(), Owner()
    listeners.add("x", Entry(one.method))
    listeners.remove_latest("x", other.method)
    assert len(listeners.get("x")) == 1
    listeners.remove_latest("x", one.method)
    assert listeners.get("x") == ()


def test_a_name_without_listeners_is_forgotten() -> None:
    listeners: Listeners[Entry] = Listeners()
    entry = Entry(print)
    listeners.add("x", entry)
    listeners.remove("x", Entry(print))
    assert listeners.by_name == {"x": (entry,)}
    listeners.remove("x", entry)
    listeners.remove("x", entry)
    assert listeners.by_name == {}


def test_clear_one_or_all() -> None:
    listeners: Listeners[Entry] = Listeners()
    for name in "xyz":
        listeners.add(name, Entry(print))
    listeners.clear("x")
    listeners.clear("x")
    assert set(listeners.by_name) == {"y", "z"}
    listeners.clear()
    assert listeners.by_name == {}
