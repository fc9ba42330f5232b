"""Functions, errors, awaitables and async iterators across the context bridge."""

import asyncio
import errno
import functools
import gc
import inspect
import traceback
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import anyio
import mainbus
import pytest
from mainbus import (
    CloneError,
    InvokeTimeout,
    NoHandlerError,
    RemoteError,
    ReplyNeverSent,
    SendQueueFull,
    register_error,
)
from mainbus.bridged import BridgedFunction, BridgedStream, Promise, remade
from mainbus.errors import BUILT_IN
from mainbus.remote import describe, remote_error

from tests.support.worlds import argument, exposed, result_of


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


@register_error
class BridgeOnlyError(Exception):
    """An application's own, which arrives as itself."""


class Unregistered(Exception):
    """An application's own, which does not."""


def raising(error: BaseException) -> Any:
    """Return what the main world gets of a function that raises."""

    def fail() -> None:
        raise error

    return exposed(fail)


def caught(fails: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as info:
        fails()
    return info.value


# -- Functions ---------------------------------------------------------------------------------------------------------


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


# -- Errors ------------------------------------------------------------------------------------------------------------


def instance(cls: type[Exception]) -> Exception:
    if cls is UnicodeDecodeError:
        return UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "invalid start byte")
    if cls is UnicodeEncodeError:
        return UnicodeEncodeError("utf-8", "abc", 2, 3, "no")
    if cls is UnicodeTranslateError:
        return UnicodeTranslateError("abc", 2, 3, "no")
    return cls("some error")


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("cls", BUILT_IN.values())
def test_a_built_in_error_is_made_anew_as_itself(cls: type[Exception]) -> None:
    original = instance(cls)
    error = caught(raising(original))
    assert type(error) is cls
    assert error is not original
    assert str(error) == str(original)
    assert error.args == original.args


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("cls", [StopIteration, StopAsyncIteration, ConnectionResetError, Unregistered, ExceptionGroup])
def test_others_are_remote_errors(cls: type[Exception]) -> None:
    original = cls("some", [ValueError()]) if cls is ExceptionGroup else cls("some")
    error = caught(raising(original))
    assert type(error) is RemoteError
    assert error.type_name.rpartition(".")[2] == cls.__name__
    assert str(error) == f"{error.type_name}: {original}"


@pytest.mark.contract("7.9")
def test_a_registered_error_is_caught_as_itself() -> None:
    error = caught(raising(BridgeOnlyError("mine")))
    assert isinstance(error, BridgeOnlyError)
    assert isinstance(error, RemoteError)


@pytest.mark.contract("7.9")
def test_nothing_of_the_original_comes_along_but_what_crosses_a_process() -> None:
    secret = ["secret"]

    def fail() -> None:
        own_local = secret
        try:
            raise Unregistered(own_local)
        except Unregistered as error:
            outer = OSError(errno.ENOENT, "No such file", "/a")
            outer.code, outer.data, outer.extra = "E", {"a": [1]}, secret  # type: ignore[attr-defined]
            outer.add_note("look here")
            raise outer from error

    error: Any = caught(exposed(fail))
    assert (type(error), error.errno, error.filename) == (FileNotFoundError, errno.ENOENT, "/a")
    assert (error.code, error.data, error.__notes__) == ("E", {"a": [1]}, ["look here"])
    assert not hasattr(error, "extra")
    assert type(error.__cause__) is RemoteError
    assert error.__cause__.type_name == "Unregistered"
    assert error.__context__ is None
    assert "own_local" not in "".join(traceback.format_exception(error))


@pytest.mark.contract("7.9")
def test_the_traceback_is_not_the_originals() -> None:
    error = caught(raising(ValueError()))
    names = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    assert "fail" not in names
    assert "__call__" in names


def test_an_error_goes_away_without_a_collection() -> None:
    # A built-in one has no weak references.
    fails = raising(BridgeOnlyError())
    kept: list[weakref.ref[BaseException]] = []
    gc.disable()
    try:
        try:
            fails()
        except BridgeOnlyError as error:
            kept.append(weakref.ref(error))
        assert kept[0]() is None
    finally:
        gc.enable()


@pytest.mark.contract("7.9")
def test_a_callbacks_error_reaches_the_one_who_calls_it() -> None:
    seen: list[Exception] = []

    def call(fn: Callable[[], object]) -> None:
        try:
            fn()
        except LookupError as error:
            seen.append(error)
            raise

    original = KeyError("k")

    def fail() -> None:
        raise original

    error = caught(lambda: exposed(call)(fail))
    assert [type(item) for item in (seen[0], error)] == [KeyError, KeyError]
    assert len({id(item) for item in (original, seen[0], error)}) == 3
    assert error.args == ("k",)


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError("stop")])
def test_what_ends_a_program_or_a_task_is_not_touched(error: BaseException) -> None:
    with pytest.raises(type(error)) as info:
        raising(error)()
    assert info.value is error


MAINBUS_ERRORS = [
    InvokeTimeout("x", 3),
    NoHandlerError("x"),
    ReplyNeverSent("x"),
    SendQueueFull(5),
    CloneError("a", "b"),
]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("original", MAINBUS_ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_mainbus_is_one_again(original: mainbus.MainbusError) -> None:
    original.__cause__ = ValueError("why")
    error = remade(original)
    assert error is not original
    assert type(error) is type(original)
    assert (str(error), error.channel) == (str(original), original.channel)
    assert type(error.__cause__) is ValueError
    assert error.__cause__ is not original.__cause__


@pytest.mark.contract("7.9")
def test_a_handlers_error_is_caught_as_before_the_bridge() -> None:
    told = ValueError("some error")
    told.code = "E"  # type: ignore[attr-defined]
    told.__cause__ = KeyError("k")
    original = remote_error("save", describe(told, traceback=True))
    error = caught(raising(original))
    assert isinstance(error, RemoteError)
    assert isinstance(error, ValueError)
    assert str(error) == "Error invoking remote method 'save': ValueError: some error"
    assert (error.channel, error.type_name, error.remote_message) == ("save", "ValueError", "some error")
    assert (error.code, error.remote_traceback) == ("E", original.remote_traceback)
    assert type(error.cause) is KeyError


# -- Awaitables --------------------------------------------------------------------------------------------------------


class Later:
    """Can be awaited, and is nothing else."""

    def __await__(self) -> Generator[Any, None, object]:
        yield from asyncio.sleep(0).__await__()
        return ["later"]


async def answer(value: object = None) -> object:
    await asyncio.sleep(0)
    return value


async def failing() -> None:
    await asyncio.sleep(0)
    raise KeyError("k")


MAKERS: list[Callable[[Any], Any]] = [
    answer,
    lambda value: asyncio.ensure_future(answer(value)),
    lambda value: asyncio.create_task(answer(value)),
]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("make", MAKERS)
async def test_what_is_awaitable_stays_so_and_its_result_is_a_copy(make: Callable[[Any], Any]) -> None:
    value = {"a": [1]}
    got = await exposed(lambda: make(value))()
    assert got == value
    assert got is not value
    assert got["a"] is not value["a"]


async def test_any_awaitable_will_do() -> None:
    assert await result_of(Later()) == ["later"]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("make", [lambda _: failing(), lambda _: asyncio.ensure_future(failing())])
async def test_an_awaitables_error_is_made_anew(make: Callable[[Any], Any]) -> None:
    with pytest.raises(KeyError) as info:
        await exposed(make)(1)
    assert info.value.args == ("k",)
    names = {frame.name for frame in traceback.extract_tb(info.value.__traceback__)}
    assert "failing" not in names
    assert info.value.__context__ is None


@pytest.mark.contract("7.9")
async def test_an_async_callback_can_be_awaited_by_the_one_who_calls_it() -> None:
    async def call(fn: Callable[[object], Awaitable[object]]) -> object:
        return [await fn({"a": 1}), await fn(2)]

    assert await exposed(call)(answer) == [{"a": 1}, 2]


@pytest.mark.contract("7.9")
async def test_awaitables_within_values_and_in_an_api() -> None:
    future = asyncio.get_running_loop().create_future()
    api = exposed({"promises": [future]})
    future.set_result([1])
    assert await api.promises[0] == [1]
    assert await api.promises[0] == [1]
    got = exposed(lambda: {"first": answer(1), "rest": [answer(2)]})()
    assert (await got["first"], await got["rest"][0]) == (1, 2)


async def test_an_awaitable_may_be_an_argument() -> None:
    async def wait(value: Awaitable[object]) -> object:
        return await value

    wait_in = exposed(wait)
    assert await wait_in(answer([1])) == [1]
    promise = exposed(lambda: asyncio.ensure_future(answer([2])))()
    assert type(promise) is Promise
    assert await wait_in(promise) == [2]


@pytest.mark.contract("7.9")
async def test_arguments_are_copied_at_the_call() -> None:
    value = [1]
    coroutine = exposed(answer)(value)
    value.append(2)
    assert await coroutine == [1]
    with pytest.raises(CloneError):
        exposed(answer)(int)


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("make", MAKERS)
async def test_a_result_that_cannot_cross_is_a_clone_error(make: Callable[[Any], Any]) -> None:
    with pytest.raises(CloneError) as info:
        await exposed(lambda: make({"a": int}))()
    assert str(info.value) == "An object could not be cloned. (result.a: type)"


async def direct(call: Callable[[], Any]) -> object:
    return await call()


async def by_create_task(call: Callable[[], Any]) -> object:
    return await asyncio.create_task(call())


async def by_gather(call: Callable[[], Any]) -> object:
    return (await asyncio.gather(call(), call()))[0]


async def by_wait_for(call: Callable[[], Any]) -> object:
    return await asyncio.wait_for(call(), 5)


async def by_task_group(call: Callable[[], Any]) -> object:
    async with asyncio.TaskGroup() as group:
        task = group.create_task(call())
    return task.result()


async def by_start_soon(call: Callable[[], Any]) -> object:
    results: list[object] = []

    async def run() -> None:
        results.append(await call())

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        group.start_soon(run)
    return results[0]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("way", [direct, by_create_task, by_gather, by_wait_for, by_task_group, by_start_soon])
async def test_it_goes_wherever_a_coroutine_goes(
    way: Callable[[Callable[[], Any]], Coroutine[Any, Any, object]], make: Callable[[Any], Any]
) -> None:
    assert await way(exposed(lambda: make([7]))) == [7]


@pytest.mark.parametrize("fails", [failing, lambda: asyncio.ensure_future(failing())])
@pytest.mark.parametrize("way", [direct, by_create_task, by_wait_for])
async def test_an_error_goes_there_too(way: Callable[[Any], Coroutine[Any, Any, object]], fails: Any) -> None:
    with pytest.raises(KeyError):
        await way(exposed(fails))


async def test_a_promise_can_be_awaited_by_many() -> None:
    future = asyncio.get_running_loop().create_future()
    promise = exposed(lambda: future)()
    tasks = [asyncio.create_task(promise), asyncio.create_task(promise), asyncio.ensure_future(promise)]
    await asyncio.sleep(0)
    assert not promise.done()
    future.set_result([1])
    first, second, third = await asyncio.gather(*tasks)
    assert first == second == third == [1]
    assert first is not second
    assert promise.done()
    assert not promise.cancel()


@pytest.mark.contract("7.9")
async def test_cancelling_a_promise_cancels_the_future() -> None:
    future = asyncio.get_running_loop().create_future()
    promise = exposed(lambda: future)()
    assert promise.cancel()
    assert future.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await promise


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("begun", [True, False])
async def test_cancelling_who_awaits_a_promise_cancels_the_future(begun: bool) -> None:
    future = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(exposed(lambda: future)())
    if begun:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert future.cancelled()


@pytest.mark.contract("7.9")
async def test_cancelling_who_awaits_a_coroutine_cancels_it() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    task = asyncio.create_task(exposed(forever)())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended == ["cancelled"]


async def test_a_promise_is_a_coroutine_in_small_steps_too() -> None:
    future = asyncio.get_running_loop().create_future()
    promise = exposed(lambda: future)()
    promise.close()
    with pytest.raises(ValueError, match="thrown"):
        promise.throw(ValueError("thrown"))
    with pytest.raises(asyncio.CancelledError):
        promise.throw(asyncio.CancelledError, None, None)
    assert future.cancelled()


async def test_a_promise_that_nobody_awaits_is_no_fault() -> None:
    future = asyncio.get_running_loop().create_future()
    exposed(lambda: future)()
    future.set_result(object())
    gc.collect()


async def test_a_coroutine_that_nobody_awaits_is_named() -> None:
    texts = set()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        exposed(answer)(1)
        # Each holds the coroutine it speaks of, and that the one within.
        while said:
            texts.add(str(said.pop().message))
    assert texts == {"coroutine 'answer' was never awaited"}


def test_objects_of_mainbus_that_can_be_awaited_are_refused() -> None:
    renderer = mainbus.connect("memory:nowhere")
    for use in (exposed, argument):
        with pytest.raises(CloneError, match="IpcRenderer"):
            use({"ipc_renderer": renderer})


# -- Async iterators ---------------------------------------------------------------------------------------------------


class Rows:
    """An async generator function that notes how it ended."""

    def __init__(self, *items: object) -> None:
        self.items = items
        self.ended: list[str] = []

    async def __call__(self) -> AsyncIterator[object]:
        try:
            for item in self.items:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            await asyncio.sleep(0)
            self.ended.append("ended")


@pytest.mark.contract("7.9")
async def test_an_async_generator_stays_one_and_its_items_are_copies() -> None:
    first: dict[str, object] = {"a": 1}
    rows = Rows(first, [2])
    stream = exposed(rows)()
    assert type(stream) is BridgedStream
    got = [item async for item in stream]
    assert got == [{"a": 1}, [2]]
    assert got[0] is not first
    assert rows.ended == ["ended"]


@pytest.mark.contract("7.9")
async def test_a_streams_error_is_made_anew_after_the_items_before_it() -> None:
    original = ValueError("broken")
    got: list[object] = []

    async def consume() -> None:
        async for item in exposed(Rows(1, original))():
            got.append(item)

    with pytest.raises(ValueError, match="broken") as info:
        await consume()
    assert got == [1]
    assert info.value is not original
    assert info.value.__context__ is None


async def test_a_stream_is_closed_as_a_context_manager() -> None:
    rows = Rows(1, 2)
    async with exposed(rows)() as stream:
        async for _ in stream:
            break
    assert rows.ended == ["ended"]
    again = Rows(1, 2)
    async with aclosing(exposed(again)()) as stream:
        assert await anext(stream) == 1
    assert again.ended == ["ended"]


async def test_an_item_that_cannot_cross_is_a_clone_error() -> None:
    async with exposed(Rows({"a": int}))() as stream:
        with pytest.raises(CloneError) as info:
            await anext(stream)
    assert str(info.value) == "An object could not be cloned. (item.a: type)"


async def test_an_iterator_that_cannot_be_closed_need_not_be() -> None:
    class Numbers:
        def __aiter__(self) -> "Numbers":
            return self

        async def __anext__(self) -> int:
            return 1

    async with result_of(Numbers()) as stream:
        assert await anext(stream) == 1


async def test_a_stream_may_be_an_argument() -> None:
    async def total(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    assert await exposed(total)(Rows(1, 2)()) == 3
    assert await exposed(total)(exposed(Rows(3, 4))()) == 7
