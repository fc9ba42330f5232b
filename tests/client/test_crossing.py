"""What crosses the context bridge as data: types, identity, cycles, depth, freezing, and what is refused."""

import sys
from array import array
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from mainbus import CloneError, LimitExceeded, RegExp, Registration, crossing, main_world
from mainbus.frozen import FrozenDict, FrozenList
from mainbus.wire import clone

from tests.support.clones import SCALARS, TREES, graphs, same
from tests.support.worlds import WAYS, argument, exposed, result_of

ELECTRONS_TEXT = "Electron contextBridge recursion depth exceeded.  Nested objects deeper than 1000 are not supported."

Way = Callable[[object], Any]


class Color(Enum):
    RED = "red"
    MANY = ("a", {"b": 1})


class Pair(NamedTuple):
    left: int
    right: int


class User(msgspec.Struct):
    name: str


@dataclass
class Point:
    x: int
    y: list[int] = field(default_factory=list)


@dataclass
class Failing:
    """Its only field cannot be read."""

    secret: int

    def __getattribute__(self, name: str) -> Any:
        if name == "secret":
            raise RuntimeError(name)
        return super().__getattribute__(name)


class Unhashable(str):
    """Can be made a key, and then raises."""

    hashes = 1

    def __hash__(self) -> int:
        Unhashable.hashes -= 1
        if Unhashable.hashes < 0:
            raise RuntimeError("hash")
        return 1


def thawed(value: Any) -> Any:
    """What it was before it was frozen; no cycles."""
    match value:
        case FrozenDict():
            return {key: thawed(item) for key, item in dict.items(value)}
        case FrozenList():
            return [thawed(item) for item in value]
        case frozenset():
            return set(value)
        case _:
            return value


def nested(kind: str, depth: int) -> Any:
    value: Any = {"list": [], "dict": {}, "namespace": SimpleNamespace(), "tuple": (), "set": set()}[kind]
    for _ in range(depth - 1):
        value = {"list": [value], "dict": {"a": value}, "namespace": SimpleNamespace(a=value), "tuple": (value,)}.get(
            kind, [value]
        )
    return value


# -- Types -------------------------------------------------------------------------------------------------------------


CASES: list[tuple[object, object]] = [
    (None, None),
    (True, True),
    (2**70, 2**70),
    (1500.0, 1500.0),
    ("größer 😀", "größer 😀"),
    (b"ab", b"ab"),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"ab"), b"ab"),
    ([1, [2]], [1, [2]]),
    ((1, (2,)), [1, [2]]),
    (Pair(1, 2), [1, 2]),
    ({"a": {"b": [None]}}, {"a": {"b": [None]}}),
    ({1: 2, (1, "a"): 3, None: 4, "größe": 5}, {1: 2, (1, "a"): 3, None: 4, "größe": 5}),
    ({Color.RED: 1}, {"red": 1}),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (defaultdict(list, a=[1]), {"a": [1]}),
    (datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)),
    (Decimal("1.50"), Decimal("1.50")),
    (Color.RED, "red"),
    (Color.MANY, ["a", {"b": 1}]),
    (Point(1, [2]), {"x": 1, "y": [2]}),
    (User("ada"), {"name": "ada"}),
    (RegExp("a", "i"), RegExp("a", "i")),
    (array("h", [-2]), array("h", [-2])),
]
# The same in every run: the repr of a view has its address.
NAMES = [f"{type(value).__name__}-{arrived}" for value, arrived in CASES]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("value", "arrived"), CASES, ids=NAMES)
def test_arguments_and_results_arrive_as_by_structured_clone(way: Way, value: object, arrived: object) -> None:
    got = way(value)
    assert got == arrived
    assert type(got) is type(arrived)
    if isinstance(got, dict):
        assert list(got) == list(arrived)  # type: ignore[call-overload]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize(("value", "arrived"), CASES, ids=NAMES)
def test_exposed_values_are_the_same_but_frozen(value: object, arrived: object) -> None:
    got = exposed(value)
    assert thawed(got) == arrived
    frozen: dict[type, type] = {dict: FrozenDict, list: FrozenList}
    assert type(got) is frozen.get(type(arrived), type(arrived))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [{1, 2}, frozenset({1, 2})], ids=repr)
def test_sets(way: Way, value: object) -> None:
    assert way(value) == {1, 2}
    assert type(way(value)) is set
    assert type(exposed(value)) is frozenset


@pytest.mark.parametrize("way", WAYS)
def test_a_namespace_stays_one(way: Way) -> None:
    got = way(SimpleNamespace(a=[1], b=SimpleNamespace(c=2)))
    assert got == SimpleNamespace(a=[1], b=SimpleNamespace(c=2))


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_as_a_value_is_another_one(way: Way) -> None:
    error = ValueError("no")
    got = way([error])[0]
    assert got is not error
    assert (type(got), str(got)) == (ValueError, "no")


def test_a_registration_crosses_as_its_cancel() -> None:
    cancelled: list[int] = []
    registration = Registration(lambda: cancelled.append(1))
    got = result_of(registration)
    assert vars(got).keys() == {"cancel"}
    got.cancel()
    assert cancelled == [1]


@given(TREES)
def test_a_crossing_agrees_with_structured_clone(value: object) -> None:
    assert same([result_of(value)], clone.decode(clone.encode([value])))


@given(graphs())
def test_graphs_keep_their_shape(value: object) -> None:
    assert same(result_of(value), clone.decode(clone.encode(value)))


@given(SCALARS)
def test_scalars_agree_when_frozen(value: object) -> None:
    assert same([exposed([value])[0]], clone.decode(clone.encode([value])))


# -- Copies: identity, cycles, no way back -----------------------------------------------------------------------------


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("way", WAYS)
def test_a_change_on_one_side_is_none_on_the_other(way: Way) -> None:
    value: dict[str, Any] = {"a": [1], "b": {"c": {2}}}
    got = way(value)
    value["a"].append(2)
    got["b"]["c"].add(3)
    assert got["a"] == [1]
    assert value["b"]["c"] == {2}


@pytest.mark.contract("7.9")
def test_what_is_exposed_is_copied_when_it_is_exposed() -> None:
    api: dict[str, Any] = {"flags": ["a"]}
    got = exposed(api)
    api["flags"].append("b")
    api["more"] = 1
    assert got == {"flags": ["a"]}


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("way", [*WAYS, exposed])
def test_identity_and_cycles_are_kept(way: Way) -> None:
    shared: list[Any] = [1]
    point = Point(1)
    namespace = SimpleNamespace()
    value: dict[str, Any] = {"a": shared, "b": shared, "p": [point, point], "n": namespace}
    value["self"] = value
    shared.append(shared)
    namespace.up = value
    got = way(value)
    assert got["a"] is got["b"]
    assert got["a"][1] is got["a"]
    assert got["self"] is got
    assert got["p"][0] is got["p"][1]
    assert got["n"].up is got


@pytest.mark.contract("7.9")
def test_the_arguments_of_one_call_share_what_they_hold() -> None:
    seen: list[Any] = []
    shared = [1]
    exposed(lambda *args, **kwargs: seen.extend((args, kwargs)))(shared, [shared], named=shared)
    (first, second), kwargs = seen
    assert first is second[0] is kwargs["named"]
    assert first is not shared


@pytest.mark.parametrize("way", WAYS)
def test_a_tuple_is_copied_wherever_it_occurs(way: Way) -> None:
    pair = (1, 2)
    first, second, empty, other = way([pair, pair, (), ()])
    assert first == second == [1, 2]
    assert first is not second
    assert empty is not other


@pytest.mark.parametrize("way", WAYS)
def test_a_cycle_through_a_tuple_ends(way: Way) -> None:
    inner: list[Any] = []
    inner.append((inner,))
    got = way(inner)
    assert got[0][0] is got


@pytest.mark.parametrize("way", [*WAYS, exposed])
def test_copies_of_tuples_are_bounded(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    # To reach the real bound takes a second.
    monkeypatch.setattr(crossing, "MAX_COPIES", 10_000)
    value: tuple[Any, ...] = ()
    for _ in range(64):
        value = (value, value)
    with pytest.raises(LimitExceeded, match="The number of items in copies of a tuple exceeds the limit of 10000"):
        way(value)


# -- Depth -------------------------------------------------------------------------------------------------------------


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("way", [*WAYS, exposed])
@pytest.mark.parametrize("kind", ["list", "dict", "namespace", "tuple", "set"])
def test_the_depth_is_bounded_with_electrons_text(way: Way, kind: str) -> None:
    way(nested(kind, 1000))
    with pytest.raises(LimitExceeded) as caught:
        way(nested(kind, 1001))
    assert str(caught.value) == ELECTRONS_TEXT


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("way", [*WAYS, exposed])
def test_no_depth_is_a_recursion_error(way: Way) -> None:
    limit = sys.getrecursionlimit()
    value: Any = []
    for _ in range(20 * limit):
        value = [value]
    with pytest.raises(LimitExceeded):
        way(value)
    while value:
        value = value.pop()


@pytest.mark.parametrize("way", [*WAYS, exposed])
def test_a_deep_key_is_no_recursion_error(way: Way) -> None:
    key: tuple[Any, ...] = ()
    for _ in range(600):
        key = (key,)
    with pytest.raises(LimitExceeded):
        way({key: 1})


def test_an_error_far_down_has_its_path() -> None:
    with pytest.raises(CloneError) as caught:
        exposed(nested("list", 999) and [nested("dict", 900), object()])
    assert caught.value.path is not None
    value: Any = [object]
    for _ in range(999):
        value = [value]
    with pytest.raises(CloneError) as caught:
        argument(value)
    assert caught.value.path == "args[0]" + 1000 * "[0]"


# -- Refused -----------------------------------------------------------------------------------------------------------


REFUSED: list[tuple[object, str]] = [
    (int, "args[0]: type"),
    (Point, "args[0]: type"),
    (object(), "args[0]: object"),
    (sys, "args[0]: module"),
    (iter([]), "args[0]: list_iterator"),
    ((n for n in "x"), "args[0]: generator"),
    (main_world, "args[0]: MainWorld"),
    (1j, "args[0]: complex"),
    ("a\ud800", "args[0]: str with a lone surrogate at 1"),
    (datetime(2026, 11, 21), "args[0]: naive datetime; say which time zone, such as tzinfo=datetime.UTC"),
    ({"children": [1, 2, int]}, "args[0].children[2]: type"),
    ({"two words": {3: int}}, "args[0]['two words'][3]: type"),
    ({10**5000: int}, "args[0][int]: type"),
    ({"k" * 80: {0: int}}, f"args[0].{'k' * 80}[0]: type"),
    ({" " * 80: int}, f"args[0]['{' ' * 56}...]: type"),
    (SimpleNamespace(a=(1, int)), "args[0].a[1]: type"),
    (Point(1, int), "args[0].y: type"),  # type: ignore[arg-type]
    ({int}, "args[0]: type as a key or in a set"),
    ([{len}], "args[0][0]: builtin_function_or_method as a key or in a set"),
    ({int: 1}, "args[0]: type as a key or in a set"),
    ({Color.RED: 1, "red": 2}, "args[0]: dict with keys that would arrive equal"),
    ([Failing(1)], "args[0][0]: Failing whose secret raised RuntimeError"),
]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize(("value", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_what_cannot_cross_is_named_with_its_path(value: object, said: str) -> None:
    ran: list[object] = []
    with pytest.raises(CloneError) as caught:
        exposed(ran.append)(value)
    assert str(caught.value) == f"An object could not be cloned. ({said})"
    assert ran == []
    with pytest.raises(CloneError) as caught:
        result_of(value)
    assert str(caught.value) == f"An object could not be cloned. ({said.replace('args[0]', 'result')})"


def test_the_path_of_a_named_argument_begins_with_its_name() -> None:
    with pytest.raises(CloneError) as caught:
        exposed(lambda **_: None)(1, options={"a": int})
    assert str(caught.value) == "An object could not be cloned. (options.a: type)"


@pytest.mark.parametrize("value", [Failing(1), {"a": {Unhashable("x"): 1}}])
def test_the_error_of_the_other_world_does_not_come_along(value: object) -> None:
    Unhashable.hashes = 0
    with pytest.raises(CloneError) as caught:
        result_of(value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


# -- Freezing ----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("7.9")
def test_what_is_exposed_is_frozen_all_the_way_down() -> None:
    got = exposed({"a": [{"b": [1]}], "s": {1}, "n": SimpleNamespace(x=1), "p": Point(1, [2]), "e": Color.MANY})
    with pytest.raises(AttributeError, match=r"^Cannot assign to read only property 'a'$"):
        got.a = 1
    with pytest.raises(TypeError):
        got["a"] = 1
    with pytest.raises(TypeError):
        got.a.append(1)
    with pytest.raises(TypeError):
        got.a[0].b.append(1)
    with pytest.raises(AttributeError):
        got.n.x = 2
    with pytest.raises(TypeError):
        got.p.y.append(1)
    with pytest.raises(TypeError):
        got.e[1].update(c=1)
    assert type(got.s) is frozenset
    assert got.a[0].b == [1]


@pytest.mark.contract("7.9")
def test_members_are_attributes_at_every_level() -> None:
    got = exposed(
        {"nested": {"deeper": {"fn": lambda: {"data": 123}}}, "boot": Point(1), "other": SimpleNamespace(y=2)}
    )
    assert got.nested.deeper.fn() == {"data": 123}
    assert got["nested"]["deeper"] is got.nested.deeper
    assert (got.boot.x, got.other.y) == (1, 2)


def test_what_is_frozen_can_be_passed_and_sent_on() -> None:
    got = exposed({"settings": {"a": [1]}})
    assert argument(got.settings) == {"a": [1]}
    assert type(argument(got.settings)) is dict
    assert clone.decode(clone.encode([got.settings])) == [{"a": [1]}]
    assert exposed(got.settings) == {"a": [1]}


def test_arguments_and_results_can_be_changed() -> None:
    for way in WAYS:
        got = way({"a": [1]})
        got["a"].append(2)
        got["b"] = 3
        assert got == {"a": [1, 2], "b": 3}


def test_a_numpy_array_is_frozen_only_when_it_is_exposed() -> None:
    frozen = exposed(np.array([1, 2]))
    with pytest.raises(ValueError, match="read-only"):
        frozen[0] = 5
    got = result_of(np.array([1, 2]))
    got[0] = 5
    assert got.tolist() == [5, 2]


def test_a_module_is_refused_also_if_it_is_empty() -> None:
    with pytest.raises(CloneError):
        exposed(ModuleType("empty"))
