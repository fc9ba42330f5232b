"""Functions across the context bridge: all kinds of them, their arguments and results, callbacks, identity."""

import functools
import gc
import inspect
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from mainbus.bridged import BridgedFunction

from tests.support.worlds import argument, exposed


class Counter:
    """Has methods of all kinds."""

    def __init__(self) -> None:
        self.count = 0

    def add(self, number: int = 1) -> int:
        """Add to the count."""
        self.count += number
        return self.count

    def __call__(self) -> int:
        return self.count

    @staticmethod
    def double(number: int) -> int:
        return 2 * number

    @classmethod
    def name(cls) -> str:
        return cls.__name__


def caught(fails: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as info:
        fails()
    return info.value


CALLS: list[tuple[Callable[..., Any], tuple[object, ...], object]] = [
    (lambda a, b: [a, b], (1, "x"), [1, "x"]),
    (len, ([1, 2],), 2),
    (Counter().add, (3,), 3),
    (Counter(), (), 0),
    (Counter.double, (4,), 8),
    (Counter.name, (), "Counter"),
    (functools.partial(max, 3), (2,), 3),
    (functools.lru_cache(lambda a: a + 1), (1,), 2),
    ("a,b".split, (",",), ["a", "b"]),
    (MagicMock(return_value={"a": 1}), (1,), {"a": 1}),
]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize(("function", "args", "result"), CALLS)
def test_all_kinds_of_functions_are_wrapped(function: Any, args: tuple[object, ...], result: object) -> None:
    wrapped = exposed({"fn": function}).fn
    assert type(wrapped) is BridgedFunction
    assert wrapped(*args) == result


def test_arguments_may_be_named() -> None:
    wrapped = exposed(lambda a, /, b, *args, c=3, **kwargs: [a, b, args, c, kwargs])
    assert wrapped(1, 2, 4, c=5, d={"e": 6}) == [1, 2, [4], 5, {"d": {"e": 6}}]
    assert wrapped(1, b=2) == [1, 2, [], 3, {}]


@pytest.mark.contract("7.9")
def test_arguments_and_results_are_copies() -> None:
    kept: list[Any] = []

    def keep(value: Any) -> Any:
        kept.append(value)
        return value

    mine = {"a": [1]}
    back = exposed(keep)(mine)
    assert mine == back == kept[0]
    assert len({id(mine), id(back), id(kept[0])}) == 3
    assert len({id(mine["a"]), id(back["a"]), id(kept[0]["a"])}) == 3


@pytest.mark.contract("7.9")
def test_a_callback_is_wrapped_again() -> None:
    shared = {"a": [1]}
    seen: list[Any] = []

    def callback(value: Any) -> Any:
        seen.append(value)
        value["a"].append(2)
        return value

    def call(fn: Callable[[object], Any]) -> object:
        assert type(fn) is BridgedFunction
        result = fn(shared)
        result["a"].append(3)
        return result

    assert exposed(call)(callback) == {"a": [1, 2, 3]}
    assert seen == [{"a": [1, 2]}]
    assert shared == {"a": [1]}


@pytest.mark.contract("7.9")
def test_functions_within_arguments_and_results_are_wrapped() -> None:
    def open_file(name: str, options: dict[str, Any]) -> Any:
        options["on"]["open"][0](name)
        return SimpleNamespace(read=lambda: [name], close=lambda: None)

    opened: list[str] = []
    handle = exposed({"open": open_file}).open("a", {"on": {"open": [opened.append]}})
    assert opened == ["a"]
    assert type(handle) is SimpleNamespace
    assert (handle.read(), handle.close()) == (["a"], None)


@pytest.mark.contract("7.9")
def test_a_function_that_comes_home_is_the_original() -> None:
    def mine() -> None: ...

    kept: list[Any] = []
    api = exposed({"keep": kept.append, "kept": lambda: kept[0], "own": mine, "is_own": lambda fn: fn is mine})
    assert api.is_own(api.own)

    def callback() -> None: ...

    api.keep(callback)
    assert type(kept[0]) is BridgedFunction
    assert api.kept() is callback


def test_what_the_main_world_has_already_can_be_exposed_again() -> None:
    api = exposed({"fn": lambda: [1]})
    again = exposed({"api": api, "fn": api.fn})
    assert again.fn is again.api.fn is api.fn
    assert type(again.fn) is BridgedFunction


@pytest.mark.contract("7.9")
def test_a_listener_can_be_taken_out_again() -> None:
    listeners: list[Any] = []
    counter = Counter()

    def listener() -> None: ...

    api = exposed({"on": listeners.append, "off": listeners.remove})
    api.on(listener)
    api.on(counter.add)
    api.off(counter.add)
    api.off(listener)
    assert listeners == []


def test_two_objects_methods_are_two() -> None:
    one, two = Counter(), Counter()
    got = argument([one.add, two.add, one.add])
    assert got[0] is got[2] is not got[1]
    got[0]()
    assert (one.count, two.count) == (1, 0)


def test_what_is_wrapped_lives_no_longer_than_it_is_used() -> None:
    counter = Counter()
    kept = weakref.ref(counter)
    wrapped = exposed(counter.add)
    del counter
    assert kept() is not None
    wrapped()
    del wrapped
    gc.collect()
    assert kept() is None


def test_a_function_that_holds_what_it_is_wrapped_in_is_collected() -> None:
    def function() -> None: ...

    function.wrapped = exposed(function)  # type: ignore[attr-defined]
    kept = weakref.ref(function)
    del function
    gc.collect()
    assert kept() is None


def test_it_looks_like_the_original() -> None:
    wrapped = exposed(Counter().add)
    assert (wrapped.__name__, wrapped.__qualname__, wrapped.__module__) == ("add", "Counter.add", __name__)
    assert wrapped.__doc__ == "Add to the count."
    assert str(inspect.signature(wrapped)) == "(number: int = 1) -> int"
    assert repr(wrapped) == "<function Counter.add across the context bridge>"
    assert repr(exposed(functools.partial(len))) == "<function partial across the context bridge>"
    assert str(inspect.signature(exposed(max))) == "(*args, **kwargs)"


def test_it_is_read_only() -> None:
    wrapped = exposed(len)
    with pytest.raises(AttributeError, match=r"^Cannot assign to read only property 'x'$"):
        wrapped.x = 1
    with pytest.raises(AttributeError, match=r"^Cannot delete property '__doc__'$"):
        del wrapped.__doc__


def test_a_wrapper_of_the_applications_own_is_a_function_like_any() -> None:
    inner = exposed(lambda: [1])

    @functools.wraps(inner)
    def outer() -> object:
        return ["outer", *inner()]

    assert argument(outer)() == ["outer", 1]


def test_the_function_says_which_arguments_it_takes() -> None:
    error = caught(lambda: exposed(Counter().add)(1, 2))
    assert type(error) is TypeError
    assert str(error) == "Counter.add() takes from 1 to 2 positional arguments but 3 were given"


def test_calls_may_go_to_and_fro() -> None:
    def down(depth: int, back: Any) -> object:
        return depth if depth == 0 else back(depth - 1, down)

    assert exposed(down)(20, lambda depth, back: back(depth, down)) == 0
