"""Outcomes of an invoke as kind, value and body, within the limits of a connection."""

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from mainbus.answers import Answers
from mainbus.errors import CloneError, NoHandlerError, RemoteError, ReplyNeverSent
from mainbus.remote import remote_error
from mainbus.wire import clone
from mainbus.wire.packets import Kind
from mainbus_broker import Config, IpcMain
from mainbus_broker.config import Limits

from tests.support.bus import Bus, within

ANSWERS = Answers(1000, 10, tracebacks=False)

DEEP: Any = [[[[[[[[[[[]]]]]]]]]]]


def test_a_result_is_its_clone() -> None:
    kind, value, body = ANSWERS.result({"a": [1]})
    assert (kind, value) == (Kind.RESULT, 0)
    assert clone.decode(body) == {"a": [1]}


@pytest.mark.contract("5.4")
@pytest.mark.parametrize(
    ("result", "text"),
    [
        (lambda: 0, "An object could not be cloned. (result: function)"),
        ({"a": [lambda: 0]}, "An object could not be cloned. (result.a[0]: function)"),
        (bytes(1001), "A message of 1004 bytes exceeds the limit of 1000"),
        (DEEP, "exceeds the limit of 10"),
    ],
)
def test_a_result_that_cannot_cross_rejects_the_call(result: object, text: str) -> None:
    kind, value, body = ANSWERS.result(result)
    assert (kind, value) == (Kind.ERROR, RemoteError.wire_code)
    error = remote_error("x", clone.decode(body))
    assert str(error).startswith("Error invoking remote method 'x': ")
    assert text in str(error)
    # Electron's text has no name of a class here.
    assert error.type_name == ""


@pytest.mark.contract("5.4")
def test_what_a_handler_returned_and_cannot_cross_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    log, event = logging.getLogger("mainbus"), SimpleNamespace(channel="x", sender_label="somebody")
    assert ANSWERS.returned(log, event, {"a": [1]}) == ANSWERS.result({"a": [1]})
    assert not caplog.records
    assert ANSWERS.returned(log, event, print) == ANSWERS.result(print)
    (record,) = caplog.records
    assert record.getMessage() == "Error occurred in handler for 'x', invoked by somebody"
    assert record.exc_info
    assert isinstance(record.exc_info[1], CloneError)


@pytest.mark.contract("5.1")
def test_an_exception_is_described() -> None:
    kind, value, body = ANSWERS.raised("x", ValueError("some error"))
    assert (kind, value) == (Kind.ERROR, RemoteError.wire_code)
    assert clone.decode(body) == {"name": "ValueError", "message": "some error"}


@pytest.mark.contract("5.1")
def test_a_traceback_crosses_where_it_may() -> None:
    def described(tracebacks: bool) -> Any:
        try:
            raise ValueError("some error")
        except ValueError as error:
            return clone.decode(Answers(10_000, 10, tracebacks).raised("x", error)[2])

    assert "traceback" not in described(False)
    assert "test_answers.py" in described(True)["traceback"]


@pytest.mark.contract("5.5")
@pytest.mark.parametrize("error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_a_handler_that_was_ended_never_replied(error: BaseException) -> None:
    kind, value, body = ANSWERS.raised("x", error)
    assert (kind, value) == (Kind.ERROR, ReplyNeverSent.wire_code)
    assert clone.decode(body) == "Error invoking remote method 'x': reply was never sent"


@pytest.mark.contract("5.2")
def test_a_refusal_is_its_code_and_text() -> None:
    kind, value, body = ANSWERS.refused(NoHandlerError("x"))
    assert (kind, value) == (Kind.ERROR, NoHandlerError.wire_code)
    assert clone.decode(body) == "Error invoking remote method 'x': Error: No handler registered for 'x'"


@pytest.mark.contract("5.4")
async def test_a_renderer_answers_within_what_its_broker_takes(address: str) -> None:
    config = Config(limits=Limits(message=2000, depth=5))
    async with Bus(address, config=config, ipc_main=IpcMain()) as bus:
        one, two = await bus.renderer("one"), await bus.renderer("two")
        for channel, result in {"long": bytes(2000), "deep": DEEP}.items():
            two.handle(channel, lambda event, result=result: result, senders="any")
            with pytest.raises(RemoteError, match="exceeds the limit of"):
                await within(one.invoke_to("two", channel))
            with pytest.raises(RemoteError, match="exceeds the limit of"):
                await within(bus.contents(two).invoke(channel))
        # It would have been closed for its answers.
        assert two.is_connected
        assert await within(two.invoke("bus:ping")) is None
