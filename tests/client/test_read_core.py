"""What every read of a renderer does, in Python and, where that is to be had, compiled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
from mainbus import read_core
from mainbus.outbox import Outbox
from mainbus.quick import COMPILED
from mainbus.wire.packets import Kind, Taker, build
from mainbus.wire.states import Role

from tests.support.wires import Wire

WAYS: dict[str, ModuleType] = {"python": read_core}
if COMPILED:
    from mainbus import read_core_fast
    from mainbus.arrivals_fast import QuickArrivals

    WAYS["compiled"] = read_core_fast

pytestmark = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)

FREED = build(Kind.POOL_FREE)

needs_taker = pytest.mark.skipif(not COMPILED, reason="nothing is compiled here, so nobody takes packets at once")


def reader_of(way: ModuleType) -> Any:
    """Return a reader that notes in `did` what else it is to do, in `left` what was written, in `soon` what will be."""

    class Reader(way.ReadCore):  # type: ignore[name-defined, misc]
        def _scan(self) -> None:
            self.did.append("scan")

        def _read_in_place(self) -> None:
            self.did.append("read in place")

        def no_memory(self) -> None:
            self.did.append("no memory")

    soon: list[Any] = []
    left: list[bytes] = []
    outbox = Outbox(cast(asyncio.AbstractEventLoop, SimpleNamespace(call_soon=soon.append)), 8)
    outbox.attach(cast(Any, SimpleNamespace(set_write_buffer_limits=lambda high: None, write=left.append)))
    reader = Reader(Wire(Role.RENDERER), outbox)
    reader.did, reader.soon, reader.left = [], soon, left
    return reader


def taken_at_once(reader: Any, then: Callable[[], None]) -> Any:
    """Return a reader whose packets are taken as they are found; a `POOL_FREE` does what the test says."""
    quick: Any = QuickArrivals
    pools = SimpleNamespace(freed=lambda peer, slot: then())
    reader.wire.owner, reader.wire.taker = SimpleNamespace(pools=pools), quick(None, None, None)
    reader._is_open = True
    return reader


@pytest.mark.parametrize("name", ["wire", "_outbox"])
def test_nobody_takes_away_what_compiled_code_reaches_without_a_look(way: ModuleType, name: str) -> None:
    reader = reader_of(way)
    with nullcontext() if way is read_core else pytest.raises(AttributeError):
        delattr(reader, name)


def test_before_the_welcome_all_is_scanned(way: ModuleType) -> None:
    reader = reader_of(way)
    reader.wire.taker = Taker()
    reader.data_received(b"xyz")
    assert (reader.wire.fed, reader.did) == ([b"xyz"], ["scan"])


def test_what_nobody_takes_at_once_is_scanned(way: ModuleType) -> None:
    reader = reader_of(way)
    reader._is_open = True
    reader.data_received(b"xyz")
    assert (reader.wire.fed, reader.did) == ([b"xyz"], ["scan"])


@needs_taker
def test_where_all_was_taken_nothing_is_scanned(way: ModuleType) -> None:
    reader = taken_at_once(reader_of(way), lambda: None)
    reader.data_received(FREED * 3)
    assert (reader.did, reader.wire.received) == ([], 3)


@needs_taker
def test_a_fault_is_looked_at_even_so(way: ModuleType) -> None:
    def fail() -> None:
        reader.wire.failure = ValueError("a fault")

    reader = taken_at_once(reader_of(way), fail)
    reader.data_received(FREED)
    assert (reader.did, reader.wire.received) == (["scan"], 1)


@pytest.mark.parametrize("is_open", [False, True])
def test_something_large_is_read_in_place(way: ModuleType, is_open: bool) -> None:
    reader = reader_of(way)
    reader._is_open, reader.wire.expects_large = is_open, True
    reader.data_received(b"xyz")
    assert reader.did == ["scan", "read in place"]


def test_answers_leave_at_once(way: ModuleType) -> None:
    reader = reader_of(way)
    reader._is_open = True
    reader.wire.then = lambda: reader._outbox.put(b"answer")
    reader.data_received(b"xyz")
    assert reader.left == [b"answer"]
    assert reader.soon == []


def test_what_is_going_to_leave_anyhow_is_not_written_before(way: ModuleType) -> None:
    reader = reader_of(way)
    reader._is_open = True
    reader._outbox.put(b"first")
    reader.wire.then = lambda: reader._outbox.put(b"answer")
    reader.data_received(b"xyz")
    assert reader.left == []
    reader.soon.pop()()
    assert (reader.left, reader.soon) == ([b"firstanswer"], [])


def test_behind_an_answer_there_is_a_turn_for_what_is_said_to_it(way: ModuleType) -> None:
    reader = reader_of(way)
    reader._is_open, reader._outbox.calls = True, 2

    def answered() -> None:
        reader._outbox.calls -= 1

    reader.wire.then = answered
    reader.data_received(b"xyz")
    assert len(reader.soon) == 1
    reader._outbox.put(b"more")
    assert len(reader.soon) == 1
    reader.soon.pop()()
    assert reader.left == [b"more"]


@pytest.mark.parametrize("is_open", [False, True])
def test_without_memory_for_what_has_come_it_is_told_once(way: ModuleType, is_open: bool) -> None:
    reader = reader_of(way)
    reader._is_open = is_open

    def fail() -> None:
        raise MemoryError

    reader.wire.then = fail
    reader.data_received(b"xyz")
    assert reader.did == ["no memory"]
    assert reader._outbox.hold(), "nothing is held back because of it"


def test_another_error_is_not_hidden(way: ModuleType) -> None:
    reader = reader_of(way)
    reader._is_open = True

    def fail() -> None:
        raise LookupError("a mistake of ours")

    reader.wire.then = fail
    with pytest.raises(LookupError, match="a mistake of ours"):
        reader.data_received(b"xyz")
    assert reader._outbox.hold()
