"""What a handler of the main process returns or raises is what the caller gets, whatever kind of callable it is."""

import asyncio
import logging
import os
import threading
import types
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mainbus
import pytest
from mainbus import CloneError, InvokeTimeout, RemoteError, ReplyNeverSent
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, until, within

# 2.7: the result counts.


class Custom:
    """An awaitable that is neither coroutine nor future."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, None, object]:
        yield from asyncio.sleep(0).__await__()
        return self.value


@types.coroutine
def generator_based(value: object) -> Generator[Any, None, object]:
    yield
    return value


async def plain_coroutine(value: object) -> object:
    await asyncio.sleep(0)
    return value


async def without_a_pause(value: object) -> object:
    return value


def later(value: object) -> asyncio.Future[object]:
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()
    loop.call_soon(future.set_result, value)
    return future


def done(value: object) -> asyncio.Future[object]:
    future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


AWAITABLES: dict[str, Callable[[object], Any]] = {
    "coroutine": plain_coroutine,
    "coroutine that never pauses": without_a_pause,
    "generator-based": generator_based,
    "future": later,
    "done future": done,
    "task": lambda value: asyncio.ensure_future(plain_coroutine(value)),
    "custom": Custom,
    "gather": lambda value: asyncio.gather(plain_coroutine(value)),
    "shield": lambda value: asyncio.shield(plain_coroutine(value)),
}


@pytest.mark.contract("2.7")
@pytest.mark.parametrize("kind", AWAITABLES)
async def test_an_awaitable_result_is_awaited(kind: str, address: str) -> None:
    async with Bus(address) as bus:
        renderer, make = await bus.renderer(), AWAITABLES[kind]

        async def coroutine_function(event: object, value: object) -> object:
            return await make(value)

        bus.ipc_main.handle("plain", lambda event, value: make(value))
        bus.ipc_main.handle("coroutine", coroutine_function)
        expected = [{"a": 1}] if kind == "gather" else {"a": 1}
        assert await within(renderer.invoke("plain", {"a": 1})) == expected
        assert await within(renderer.invoke("coroutine", {"a": 1})) == expected


@pytest.mark.contract("2.7")
async def test_a_reply_is_an_awaitable_too(address: str) -> None:
    async with Bus(address) as bus:
        renderer, other = await bus.renderer(), await bus.renderer()
        other.handle("ask", lambda event, value: value + 1)
        bus.ipc_main.handle("x", lambda event, value: bus.contents(other).invoke("ask", value))
        assert await within(renderer.invoke("x", 1)) == 2


@pytest.mark.contract("2.7")
@pytest.mark.parametrize("kind", AWAITABLES)
async def test_a_listeners_awaitable_is_awaited_too(kind: str, address: str) -> None:
    async with Bus(address) as bus:
        renderer, make = await bus.renderer(), AWAITABLES[kind]
        finished = Calls()

        async def finish(value: object) -> None:
            finished(value)

        bus.ipc_main.on("x", lambda event: make(1))
        bus.ipc_main.on("x", lambda event: asyncio.ensure_future(finish(2)))
        renderer.send("x")
        await finished.wait()
        await until(lambda: not bus.hub.main.dispatch.tasks)
        assert bus.errors == []


@pytest.mark.contract("2.7")
@pytest.mark.parametrize("value", [None, True, 0, "", b"", [], {}, set(), 1.5])
async def test_what_is_no_awaitable_is_the_value(value: object, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", lambda event: value)
        assert await renderer.invoke("x") == value


@pytest.mark.contract("2.7")
async def test_a_class_may_handle(address: str) -> None:
    class Answer(dict[str, object]):
        def __init__(self, event: Any, value: object) -> None:
            super().__init__(channel=event.channel, value=value)

    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", Answer)
        assert await renderer.invoke("x", 1) == {"channel": "x", "value": 1}


# 2.10: threads, and what holds up the loop.


@pytest.mark.contract("2.10")
async def test_plain_functions_run_on_the_loop_and_thread_true_in_a_worker(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        where: Callable[[object], int] = lambda event: threading.get_ident()  # noqa: E731
        heard: list[int] = []
        bus.ipc_main.handle("loop", where)
        bus.ipc_main.handle("worker", where, thread=True)
        bus.ipc_main.on("listener", lambda event: heard.append(where(event)), thread=True)
        assert await renderer.invoke("loop") == threading.get_ident()
        assert await renderer.invoke("worker") != threading.get_ident()
        renderer.send("listener")
        await until(lambda: heard)
        assert heard[0] != threading.get_ident()


@pytest.mark.contract("2.10", "2.7")
async def test_an_awaitable_that_a_worker_makes_is_awaited_on_the_loop(address: str) -> None:
    async def where() -> int:
        return threading.get_ident()

    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", lambda event: where(), thread=True)
        assert await within(renderer.invoke("x")) == threading.get_ident()


@pytest.mark.contract("2.10", "2.8")
async def test_a_listener_in_a_worker_that_raises_is_reported(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.on("x", lambda event: 1 / 0, thread=True)
        bus.ipc_main.handle("x", lambda event: 1 / 0, thread=True)
        renderer.send("x")
        await until(lambda: bus.errors)
        assert isinstance(bus.errors[0][0], ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            await renderer.invoke("x")


@pytest.mark.contract("2.10", "5.7")
async def test_a_handler_whose_worker_never_began_keeps_nobody_waiting(address: str) -> None:
    loop, release = asyncio.get_running_loop(), threading.Event()
    workers = ThreadPoolExecutor(1, "asyncio_test")
    loop.set_default_executor(workers)
    try:
        async with Bus(address) as bus:
            renderer, heard = await bus.renderer(), Calls()
            busy = loop.run_in_executor(None, release.wait)
            bus.ipc_main.handle("x", lambda event: "never", thread=True)
            bus.ipc_main.on("after", heard)
            reply = renderer.invoke("x")
            await until(lambda: bus.hub.main.dispatch.tasks)
            reply.cancel()
            renderer.send("after")
            await heard.wait()
            release.set()
            await busy
    finally:
        release.set()
        workers.shutdown()
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio_test"))


def slow_value(event: object) -> str:
    return "slow"


def slow_error(event: object) -> None:
    raise ValueError("slow")


@pytest.mark.contract("2.10")
@pytest.mark.parametrize("function", [slow_value, slow_error])
@pytest.mark.parametrize("verb", ["send", "invoke"])
async def test_a_plain_function_that_holds_up_the_loop_is_logged(
    verb: str,
    function: Callable[..., object],
    address: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.on("the-channel", function)
        bus.ipc_main.handle("the-channel", function)
        assert mainbus.dispatch.SLOW == 0.1
        monkeypatch.setattr("mainbus.dispatch.SLOW", -1.0)
        if verb == "send":
            renderer.send("the-channel")
            await until(lambda: [r for r in caplog.records if r.levelno == logging.WARNING])
        else:
            await asyncio.gather(renderer.invoke("the-channel"), return_exceptions=True)
        monkeypatch.undo()
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert [text for text in warnings if "'the-channel'" in text and "thread=True" in text]


@pytest.mark.contract("2.10")
async def test_a_quick_function_and_a_worker_are_not_logged(
    address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("quick", lambda event: None)
        bus.ipc_main.handle("worker", lambda event: None, thread=True)
        monkeypatch.setattr("mainbus.dispatch.SLOW", 1000.0)
        await renderer.invoke("quick")
        monkeypatch.setattr("mainbus.dispatch.SLOW", -1.0)
        await renderer.invoke("worker")
        assert not [record for record in caplog.records if "'quick'" in record.getMessage()]
        assert not [record for record in caplog.records if "'worker'" in record.getMessage()]


# 5.1 to 5.4: exceptions and results that cannot cross.


class AppError(Exception):
    """An application's own, with what crosses of it."""

    def __init__(self) -> None:
        super().__init__("app failed")
        self.code = "E_APP"
        self.data = {"line": 7}


def raising(error: BaseException, *, later: bool) -> Callable[..., object]:
    def plain(event: object) -> None:
        raise error

    async def coroutine(event: object) -> None:
        await asyncio.sleep(0)
        raise error

    return coroutine if later else plain


async def outcome(reply: Awaitable[object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        await within(reply)
    return caught.value


@pytest.mark.contract("5.1", "5.3")
@pytest.mark.parametrize("later", [False, True])
async def test_a_handlers_exception_has_electrons_text_and_can_be_caught_as_itself(later: bool, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", raising(ValueError("some error"), later=later))
        error = await outcome(renderer.invoke("x"))
        assert str(error) == "Error invoking remote method 'x': ValueError: some error"
        assert isinstance(error, RemoteError)
        assert isinstance(error, ValueError)
        assert (error.channel, error.type_name, error.remote_message) == ("x", "ValueError", "some error")
        assert (error.code, error.data, error.cause, list(error.notes)) == (None, None, None, [])
        assert error.remote_traceback is None


@pytest.mark.contract("5.1")
@pytest.mark.parametrize("kind", ["plain", "later", "thread"])
async def test_what_a_handler_raises_is_logged(kind: str, address: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        bus.ipc_main.handle("x", raising(ValueError("some error"), later=kind == "later"), thread=kind == "thread")
        bus.ipc_main.handle("cancelled", raising(asyncio.CancelledError(), later=kind == "later"))
        for channel, args in (("x", ()), ("x", (1,)), ("cancelled", ()), ("nobody", ())):
            await outcome(renderer.invoke(channel, *args))
        (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.name == "mainbus.broker"
        text = f"Error occurred in handler for 'x', invoked by renderer {renderer.id} (editor) pid {os.getpid()}"
        assert record.getMessage() == text
        assert record.exc_info
        assert str(record.exc_info[1]) == "some error"


@pytest.mark.contract("5.4")
@pytest.mark.parametrize("value", [print, bytes(2000)])
async def test_a_result_that_cannot_cross_is_logged(
    value: object, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bus(address, config=Config(limits=Limits(message=1000))) as bus:
        renderer = await bus.renderer("editor")
        bus.ipc_main.handle("x", lambda event: value)
        error = await outcome(renderer.invoke("x"))
        (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        text = f"Error occurred in handler for 'x', invoked by renderer {renderer.id} (editor) pid {os.getpid()}"
        assert record.getMessage() == text
        assert record.exc_info
        assert str(record.exc_info[1]) in str(error)


@pytest.mark.contract("5.1")
async def test_code_data_cause_and_notes_cross(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()

        def handler(event: object) -> None:
            error = AppError()
            error.add_note("look here")
            raise error from KeyError("inner")

        bus.ipc_main.handle("x", handler)
        error = await outcome(renderer.invoke("x"))
        assert type(error) is RemoteError
        assert str(error) == "Error invoking remote method 'x': AppError: app failed"
        assert (error.code, error.data) == ("E_APP", {"line": 7})
        assert isinstance(error.cause, KeyError)
        assert error.cause is error.__cause__
        assert list(error.notes) == ["look here"]


@pytest.mark.contract("5.1")
async def test_a_traceback_crosses_if_the_config_lets_it(address: str) -> None:
    async with Bus(address, config=Config(tracebacks=True)) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", raising(ValueError("some error"), later=False))
        error = await outcome(renderer.invoke("x"))
        assert isinstance(error, RemoteError)
        assert error.remote_traceback is not None
        assert "in plain" in error.remote_traceback


@pytest.mark.contract("5.1")
@pytest.mark.parametrize(
    ("raised", "text"),
    [
        (ExceptionGroup("several", [ValueError("a"), TypeError("b")]), "ExceptionGroup: several (2 sub-exceptions)"),
        (ValueError(), "ValueError"),
        (StopIteration("no"), "StopIteration: no"),
        (StopAsyncIteration("no"), "StopAsyncIteration: no"),
        (ConnectionResetError("not yours"), "ConnectionResetError: not yours"),
        (RuntimeError("\ud800"), None),
    ],
)
async def test_any_exception_arrives_as_a_remote_error(
    raised: Exception, text: str | None, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    # A lone surrogate in what is captured would end the worker of a parallel run.
    caplog.set_level(logging.CRITICAL, "mainbus.broker")
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", raising(raised, later=False))
        error = await outcome(renderer.invoke("x"))
        assert isinstance(error, RemoteError)
        assert not isinstance(error, StopIteration | StopAsyncIteration | ConnectionError)
        if text is not None:
            assert str(error) == f"Error invoking remote method 'x': {text}"


@pytest.mark.contract("5.3")
async def test_os_errors_keep_their_fields(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", lambda event: Path("/no/such/file").read_text())
        error = await outcome(renderer.invoke("x"))
        assert isinstance(error, FileNotFoundError)
        assert (error.errno, error.strerror, error.filename) == (2, "No such file or directory", "/no/such/file")


@pytest.mark.contract("5.3")
async def test_a_handlers_timeout_error_is_no_invoke_timeout(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", raising(TimeoutError("mine"), later=True))
        error = await outcome(renderer.invoke("x", timeout=30))
        assert isinstance(error, TimeoutError)
        assert isinstance(error, RemoteError)
        assert not isinstance(error, InvokeTimeout)


class OnlyBase(BaseException):
    """What is no Exception is no result."""


@pytest.mark.contract("5.5")
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("raised", [asyncio.CancelledError(), GeneratorExit()])
async def test_a_handler_that_cancels_itself_never_replies(raised: BaseException, later: bool, address: str) -> None:
    async with Bus(address) as bus:
        renderer, other = await bus.renderer(), await bus.renderer()
        bus.ipc_main.handle("x", raising(raised, later=later))
        error = await outcome(renderer.invoke("x"))
        assert str(error) == "Error invoking remote method 'x': reply was never sent"
        assert type(error) is ReplyNeverSent
        await bus.served(renderer)
        await bus.served(other)


@pytest.mark.contract("5.4")
@pytest.mark.parametrize("later", [False, True])
async def test_a_result_that_cannot_be_cloned_rejects_the_call(later: bool, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()

        def plain(event: object) -> object:
            return {"a": [1, plain]}

        async def coroutine(event: object) -> object:
            await asyncio.sleep(0)
            return plain(event)

        bus.ipc_main.handle("x", coroutine if later else plain)
        error = await outcome(renderer.invoke("x"))
        assert type(error) is RemoteError
        assert not isinstance(error, CloneError)
        text = "Error invoking remote method 'x': An object could not be cloned. (result.a[1]: function)"
        assert str(error) == text
        await bus.served(renderer)


@pytest.mark.contract("5.4")
async def test_a_result_that_is_too_large_rejects_the_call(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(message=1000))) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", lambda event: "x" * 1001)
        error = await outcome(renderer.invoke("x"))
        assert isinstance(error, RemoteError)
        assert str(error).startswith("Error invoking remote method 'x': ")
        await bus.served(renderer)


@pytest.mark.contract("5.8")
async def test_an_error_of_mainbus_itself_crosses_by_name(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", lambda event: bus.contents(renderer).send("y", print))
        error = await outcome(renderer.invoke("x"))
        assert isinstance(error, RemoteError)
        assert error.type_name == "CloneError"
