"""Calls: one outcome for each request, its credit given back once, its deadline, and what is late."""

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest
from mainbus.calls import Calls, error_of
from mainbus.errors import (
    BadMessage,
    ConnectionLost,
    InvokeTimeout,
    MainbusError,
    NoHandlerError,
    NoSuchRenderer,
    RemoteError,
    ReplyNeverSent,
)
from mainbus.outbox import Outbox
from mainbus.remote import describe
from mainbus.reply import Reply
from mainbus.routes import Route
from mainbus.wire import clone
from mainbus.wire.packets import MAX_U32

DEPTH = 32


class Caller:
    """Calls over one route with credit for two, and what was asked to be cancelled at the other end."""

    def __init__(self, credit: int = 2) -> None:
        loop = asyncio.get_running_loop()
        self.outbox = Outbox(loop, 100)
        self.route = Route(self.outbox, credit)
        self.cancelled: list[int] = []
        self.calls = Calls(loop, lambda reply: self.cancelled.append(reply.request))

    def invoke(self, timeout: float | None = None) -> Reply:
        request = self.calls.next_request()
        reply = self.calls.open("x", request, self.route, timeout)
        self.route.put(b"packet", 6, request)
        return reply

    @property
    def state(self) -> tuple[int, int, int]:
        """Pending, and what is charged to the route and to all of them together."""
        return len(self.calls), self.route.unanswered, self.outbox.calls


@pytest.mark.contract("9.1")
async def test_a_result_settles_its_call_and_gives_the_credit_back() -> None:
    caller = Caller()
    first, second = caller.invoke(), caller.invoke()
    assert caller.state == (2, 2, 2)
    assert caller.calls.result(second.request, clone.encode([1]), DEPTH) is None
    assert caller.calls.result(first.request, clone.encode("one"), DEPTH) is None
    assert (await first, await second) == ("one", [1])
    assert caller.state == (0, 0, 0)


@pytest.mark.contract("9.3")
async def test_a_request_that_waits_in_another_route_is_withdrawn_and_charged_there() -> None:
    caller = Caller(credit=0)
    other = Route(caller.outbox, 1)
    first, second = caller.invoke(), caller.invoke()
    for reply in (first, second):
        assert caller.route.withdraw(reply.request)
        other.put(iter([b"packet"]), 6, reply.request)
        caller.calls.moved(reply.request, other)
    caller.calls.moved(999, other)
    assert other.next_packet() == b"packet"
    second.cancel()
    assert caller.cancelled == []
    caller.calls.result(first.request, clone.encode("one"), DEPTH)
    assert await first == "one"
    assert other.next_packet() is None
    assert (len(caller.calls), other.unanswered, other.size) == (0, 0, 0)


@pytest.mark.contract("9.1")
async def test_a_second_or_unknown_answer_is_ignored() -> None:
    caller = Caller()
    reply = caller.invoke()
    caller.calls.result(reply.request, clone.encode(1), DEPTH)
    assert caller.calls.result(reply.request, clone.encode(2), DEPTH) is None
    assert caller.calls.error(reply.request, 1, b"\xff", DEPTH) is None
    assert caller.calls.result(999, b"\xff", DEPTH) is None
    assert await reply == 1
    assert caller.state == (0, 0, 0)


async def test_requests_are_numbered_from_1_and_none_in_use_is_taken_again() -> None:
    caller = Caller(credit=10)
    first, second = caller.invoke(), caller.invoke()
    assert (first.request, second.request) == (1, 2)
    caller.calls._last = MAX_U32 - 1
    more = [caller.invoke() for _ in range(3)]
    assert [reply.request for reply in more] == [MAX_U32, 3, 4]
    caller.calls.fail_all(lambda reply: ConnectionLost())
    for reply in (first, second, *more):
        assert isinstance(reply.exception(), ConnectionLost)


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("body", [b"", b"\xff", clone.encode(1) + b"\x00"])
async def test_a_result_that_does_not_decode_is_the_fault_of_its_sender(body: bytes) -> None:
    caller = Caller()
    reply = caller.invoke()
    assert isinstance(caller.calls.result(reply.request, body, DEPTH), BadMessage)
    with pytest.raises(BadMessage, match="result of 'x'"):
        await reply
    assert caller.state == (0, 0, 0)


@pytest.mark.contract("8.7")
async def test_an_error_that_does_not_decode_is_the_fault_of_its_sender() -> None:
    caller = Caller()
    reply = caller.invoke()
    assert isinstance(caller.calls.error(reply.request, RemoteError.wire_code, b"\xff", DEPTH), BadMessage)
    with pytest.raises(BadMessage, match="error of 'x'"):
        await reply


@pytest.mark.contract("5.1", "5.2", "5.5")
@pytest.mark.parametrize(
    ("code", "value", "kind", "text"),
    [
        (NoHandlerError.wire_code, "", NoHandlerError, "Error: No handler registered for 'x'"),
        (ReplyNeverSent.wire_code, "", ReplyNeverSent, "reply was never sent"),
        (NoSuchRenderer.wire_code, "No renderer is named 'y'", NoSuchRenderer, "No renderer is named 'y'"),
        (RemoteError.wire_code, describe(ValueError("some error")), ValueError, "'x': ValueError: some error"),
        (65_535, "from a newer broker", MainbusError, "from a newer broker"),
    ],
)
async def test_an_error_comes_as_its_class(code: int, value: Any, kind: type[Exception], text: str) -> None:
    caller = Caller()
    reply = caller.invoke()
    assert caller.calls.error(reply.request, code, clone.encode(value), DEPTH) is None
    with pytest.raises(kind) as caught:
        await reply
    assert text in str(caught.value)
    assert caller.state == (0, 0, 0)


async def test_an_error_may_have_no_body() -> None:
    assert isinstance(error_of("x", NoHandlerError.wire_code, b"", DEPTH), NoHandlerError)


@pytest.mark.contract("5.7")
async def test_a_deadline_cancels_at_the_other_end_and_keeps_the_credit_until_the_answer() -> None:
    caller = Caller()
    reply = caller.invoke(0.001)
    with pytest.raises(InvokeTimeout, match="'x'") as caught:
        await reply
    assert caught.value.timeout == 0.001
    assert caller.cancelled == [reply.request]
    assert caller.state == (1, 1, 1)
    caller.calls.error(reply.request, ReplyNeverSent.wire_code, clone.encode(""), DEPTH)
    assert caller.state == (0, 0, 0)


@pytest.mark.contract("5.7")
async def test_the_brokers_own_deadline_reads_as_ours() -> None:
    caller = Caller()
    reply = caller.invoke(30)
    caller.calls.error(reply.request, InvokeTimeout.wire_code, b"", DEPTH)
    with pytest.raises(InvokeTimeout, match="30 s"):
        await reply
    caller.calls.fail_all(lambda reply: ConnectionLost())


@pytest.mark.contract("5.7")
async def test_a_cancelled_call_ignores_its_late_answer() -> None:
    caller = Caller()
    reply = caller.invoke()
    reply.cancel()
    assert caller.cancelled == [reply.request]
    assert caller.state == (1, 1, 1)
    assert caller.calls.result(reply.request, b"\xff", DEPTH) is None
    assert reply.cancelled()
    assert caller.state == (0, 0, 0)


@pytest.mark.contract("9.3")
async def test_a_call_that_still_waits_for_credit_is_withdrawn_when_cancelled() -> None:
    caller = Caller(credit=1)
    first, second, third = caller.invoke(), caller.invoke(), caller.invoke(0.001)
    second.cancel()
    with pytest.raises(InvokeTimeout):
        await third
    assert caller.cancelled == []
    assert caller.state == (1, 1, 1)
    caller.calls.result(first.request, clone.encode(None), DEPTH)
    assert caller.route.next_packet() is None
    assert caller.state == (0, 0, 0)


@pytest.mark.contract("9.6")
async def test_a_loss_fails_all_but_those_that_have_not_left() -> None:
    caller = Caller(credit=1)
    left, waits = caller.invoke(), caller.invoke()
    caller.calls.fail_all(lambda reply: ConnectionLost(f"{reply.request}"), keep={waits.request})
    with pytest.raises(ConnectionLost, match=str(left.request)):
        await left
    assert not waits.done()
    assert caller.state == (1, 0, 0)
    caller.calls.fail(waits.request, NoSuchRenderer(5))
    with pytest.raises(NoSuchRenderer):
        await waits
    assert caller.state == (0, 0, 0)


@pytest.mark.contract("9.6")
async def test_failing_what_has_left_gives_its_credit_back() -> None:
    caller = Caller()
    reply = caller.invoke()
    caller.calls.fail(reply.request, NoSuchRenderer(5), left=True)
    assert caller.state == (0, 0, 0)
    caller.calls.fail(reply.request, NoSuchRenderer(6))
    with pytest.raises(NoSuchRenderer, match="5"):
        await reply


class Careless:
    """What the collector finds; its finaliser gives something up."""

    def __init__(self, give_up: Callable[[], object]) -> None:
        self.itself = self
        self.give_up = give_up

    def __del__(self) -> None:
        self.give_up()


MANY = clone.encode([[] for _ in range(5000)])


@pytest.mark.contract("9.1")
@pytest.mark.parametrize("body", [MANY, MANY[:-1]], ids=["whole", "cut off"])
@pytest.mark.parametrize("what", ["result", "item", "error"])
async def test_a_call_that_is_given_up_as_its_answer_is_decoded_is_given_up(what: str, body: bytes) -> None:
    caller = Caller()
    reply: Reply
    if what == "item":
        request = caller.calls.next_request()
        reply = caller.calls.open_stream("x", request, caller.route, None, lambda request, credit: None)
        caller.route.put(b"packet", 6, request, is_free=True)
    else:
        reply = caller.invoke()
    gc.collect()
    before = gc.get_threshold()
    Careless(reply.cancel)
    gc.set_threshold(1000)
    try:
        if what == "error":
            fault = caller.calls.error(reply.request, NoHandlerError.wire_code, body, DEPTH)
        else:
            fault = getattr(caller.calls, what)(reply.request, body, DEPTH)
    finally:
        gc.set_threshold(*before)
    assert reply.cancelled()
    assert (fault is None) is (body is MANY)
    assert what != "item" or not reply.items  # type: ignore[attr-defined]
