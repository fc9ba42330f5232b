"""Emitters: Node's order and snapshots, errors apart, coroutine listeners."""

import asyncio
import gc
import inspect
import logging
import weakref
from collections.abc import Awaitable, Callable, Generator

import pytest
from mainbus.emitter import Emitter
from mainbus.registration import Registration

Called = list[tuple[object, ...]]


def recorder(called: Called, name: str) -> Callable[..., None]:
    return lambda *args: called.append((name, *args))


@pytest.fixture
def called() -> Called:
    return []


@pytest.fixture
def emitter() -> Emitter:
    return Emitter()


@pytest.mark.contract("2.6")
def test_registration_order_with_the_arguments(emitter: Emitter, called: Called) -> None:
    for name in "abc":
        emitter.on("x", recorder(called, name))
    emitter.on("y", recorder(called, "other"))
    assert emitter.emit("x", 1, "two")
    assert called == [("a", 1, "two"), ("b", 1, "two"), ("c", 1, "two")]
    assert not emitter.emit("z")


@pytest.mark.contract("2.6")
def test_the_same_function_twice_is_called_twice_and_off_takes_the_latest(emitter: Emitter, called: Called) -> None:
    twice = recorder(called, "twice")
    emitter.on("x", twice)
    emitter.on("x", recorder(called, "between"))
    emitter.on("x", twice)
    emitter.emit("x")
    emitter.off("x", twice)
    emitter.emit("x")
    emitter.remove_listener("x", twice)
    emitter.off("x", twice)
    emitter.emit("x")
    assert [name for (name,) in called] == ["twice", "between", "twice", "twice", "between", "between"]


@pytest.mark.contract("2.6")
def test_emit_goes_through_a_snapshot(emitter: Emitter, called: Called) -> None:
    late, last = recorder(called, "late"), recorder(called, "last")

    def changing() -> None:
        emitter.on("x", late)
        emitter.off("x", last)

    emitter.once("x", changing)
    emitter.on("x", last)
    emitter.emit("x")
    assert called == [("last",)]
    emitter.emit("x")
    assert called == [("last",), ("late",)]


@pytest.mark.contract("2.6")
def test_once_is_taken_out_before_its_call(emitter: Emitter, called: Called) -> None:
    def again() -> None:
        called.append((emitter.listener_count("x"),))
        emitter.emit("x")

    emitter.once("x", again)
    emitter.once("x", again)
    emitter.emit("x")
    emitter.emit("x")
    # The first one's emit calls the second; the outer emit's snapshot does not call it once more.
    assert called == [(1,), (0,)]


def test_off_and_cancel_of_a_once(emitter: Emitter, called: Called) -> None:
    once = recorder(called, "once")
    emitter.once("x", once)
    emitter.off("x", once)
    emitter.once("x", once).cancel()
    assert not emitter.emit("x")


@pytest.mark.contract("2.3")
def test_decorators_return_the_function(emitter: Emitter, called: Called) -> None:
    @emitter.on("x")
    def always() -> None:
        called.append(("always",))

    @emitter.once("x")
    def first() -> None:
        called.append(("first",))

    for _ in range(2):
        emitter.emit("x")
    assert called == [("always",), ("first",), ("always",)]
    always()


@pytest.mark.contract("2.3")
def test_a_registration_cancels_exactly_itself(emitter: Emitter, called: Called) -> None:
    twice = recorder(called, "twice")
    first = emitter.on("x", twice)
    emitter.add_listener("x", recorder(called, "between"))
    second = emitter.on("x", twice)
    assert isinstance(first, Registration)
    first.cancel()
    first.cancel()
    emitter.emit("x")
    assert called == [("between",), ("twice",)]
    with second:
        assert emitter.listener_count("x") == 2
    assert emitter.listener_count("x") == 1


def test_remove_all_listeners_of_one_or_all(emitter: Emitter) -> None:
    for event in "xyz":
        emitter.on(event, print)
    emitter.remove_all_listeners("x")
    assert [emitter.listener_count(event) for event in "xyz"] == [0, 1, 1]
    emitter.remove_all_listeners()
    assert [emitter.listener_count(event) for event in "xyz"] == [0, 0, 0]


def test_not_callable(emitter: Emitter) -> None:
    with pytest.raises(TypeError, match="Expected listener to be a function, but found type 'int'"):
        emitter.on("x", 3)  # type: ignore[call-overload]
    assert emitter.listener_count("x") == 0


def test_unknown_events_are_refused() -> None:
    emitter = Emitter(frozenset({"opened", "closed"}))
    attempts: list[Callable[[], object]] = [
        lambda: emitter.on("open"),
        lambda: emitter.once("open", print),
        lambda: emitter.off("open", print),
        lambda: emitter.remove_all_listeners("open"),
        lambda: emitter.listener_count("open"),
        lambda: emitter.emit("open"),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match="Unknown event 'open'; known are 'closed', 'opened'"):
            attempt()
    emitter.on("opened", lambda: None)
    assert emitter.emit("opened")
    assert not emitter.emit("closed")
    emitter.remove_all_listeners()


# -- errors --------------------------------------------------------------------------------------------------------


def raising(error: BaseException) -> Callable[[], None]:
    def listener() -> None:
        raise error

    return listener


@pytest.mark.contract("2.8")
@pytest.mark.parametrize("error", [ValueError("wrong"), asyncio.CancelledError()])
def test_a_listener_that_raises_is_logged_and_the_others_run(
    emitter: Emitter, called: Called, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    emitter.on("x", raising(error))
    emitter.on("x", recorder(called, "next"))
    assert emitter.emit("x")
    assert called == [("next",)]
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("mainbus", logging.ERROR)
    assert "'x'" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_on_error_gets_the_error_instead_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    reported: list[tuple[BaseException, str]] = []
    emitter = Emitter(on_error=lambda error, event: reported.append((error, event)))
    error = ValueError("wrong")
    emitter.on("x", raising(error))
    emitter.emit("x")
    assert reported == [(error, "x")]
    assert not caplog.records


def test_on_error_that_raises_is_logged(called: Called, caplog: pytest.LogCaptureFixture) -> None:
    def on_error(error: BaseException, event: str) -> None:
        raise RuntimeError("on_error too")

    emitter = Emitter(on_error=on_error)
    emitter.on("x", raising(ValueError("wrong")))
    emitter.on("x", recorder(called, "next"))
    emitter.emit("x")
    assert called == [("next",)]
    assert "ValueError('wrong')" in caplog.text
    assert "RuntimeError: on_error too" in caplog.text


def test_keyboard_interrupt_passes(emitter: Emitter) -> None:
    emitter.on("x", raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        emitter.emit("x")


# -- coroutine listeners -------------------------------------------------------------------------------------------


class Later:
    """An awaitable that is no coroutine."""

    def __init__(self, inner: Awaitable[None]) -> None:
        self.inner = inner

    def __await__(self) -> Generator[object, None, None]:
        return self.inner.__await__()


@pytest.mark.parametrize("wrap", [lambda awaitable: awaitable, Later], ids=["coroutine", "awaitable"])
async def test_a_coroutine_listener_runs_as_a_task_that_is_held(
    emitter: Emitter, wrap: Callable[[Awaitable[None]], Awaitable[None]]
) -> None:
    got: list[int] = []
    waiting: list[weakref.ref[asyncio.Future[None]]] = []
    begun, done = asyncio.Event(), asyncio.Event()

    async def listener(value: int) -> None:
        # Nothing outside of the task holds this future: neither would hold the task.
        future = asyncio.get_running_loop().create_future()
        waiting.append(weakref.ref(future))
        asyncio.get_running_loop().call_soon(begun.set)
        await future
        got.append(value)
        done.set()

    emitter.on("x", lambda value: wrap(listener(value)))
    emitter.emit("x", 5)
    await begun.wait()
    gc.collect()
    future = waiting.pop()()
    assert future is not None
    future.set_result(None)
    await done.wait()
    assert got == [5]


async def test_a_coroutine_listeners_error_is_reported() -> None:
    reported: asyncio.Future[tuple[BaseException, str]] = asyncio.get_running_loop().create_future()
    emitter = Emitter(on_error=lambda error, event: reported.set_result((error, event)))
    error = ValueError("wrong")

    @emitter.on("x")
    async def listener() -> None:
        raise error

    emitter.emit("x")
    assert await reported == (error, "x")


@pytest.mark.parametrize("wrap", [lambda awaitable: awaitable, Later], ids=["coroutine", "awaitable"])
def test_a_coroutine_listener_without_a_loop_is_reported(
    wrap: Callable[[Awaitable[None]], Awaitable[None]], called: Called
) -> None:
    reported: list[BaseException] = []
    emitter = Emitter(on_error=lambda error, event: reported.append(error))

    async def listener() -> None: ...

    coroutine = listener()
    emitter.on("x", lambda: wrap(coroutine))
    emitter.on("x", recorder(called, "next"))
    emitter.emit("x")
    if wrap is not Later:
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    coroutine.close()
    (error,) = reported
    assert isinstance(error, RuntimeError)
    assert called == [("next",)]
