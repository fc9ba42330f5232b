"""Invokes between renderers: an entry ends with its answer, or with one of its two renderers."""

import asyncio
from typing import Any

import pytest
from mainbus import InvokeTimeout
from mainbus.deadlines import Deadlines
from mainbus.wire.packets import Kind, build
from mainbus_broker.peer import Peer
from mainbus_broker.replies import Replies

from tests.support.bus import Bus, until, within


async def peers(bus: Bus, count: int) -> list[Peer]:
    return [bus.peer(await bus.renderer()) for _ in range(count)]


def new() -> Replies:
    return Replies(asyncio.get_running_loop())


async def test_an_answer_ends_its_request_once(address: str) -> None:
    async with Bus(address) as bus:
        caller, callee, other = await peers(bus, 3)
        replies = new()
        assert replies.add(caller, 1, callee, 0)
        assert replies.add(caller, 2, callee, 0)
        assert not replies.add(caller, 1, other, 0)
        assert replies.add(other, 1, callee, 0)
        assert (len(replies), replies.pending(caller), replies.pending(callee)) == (3, 2, 0)
        assert replies.callee(caller, 1) is callee
        assert replies.callee(callee, 1) is None
        assert not replies.claim(caller, 1, other)
        assert not replies.claim(caller, 9, callee)
        assert replies.claim(caller, 1, callee)
        assert not replies.claim(caller, 1, callee)
        assert replies.callee(caller, 1) is None
        assert len(replies) == 2
        assert replies.add(caller, 1, other, 0)


async def test_one_that_goes_takes_what_it_asked_and_what_it_owes(address: str) -> None:
    async with Bus(address) as bus:
        one, two, three = await peers(bus, 3)
        replies = new()
        for caller, request, callee in (
            (one, 1, two),
            (one, 2, three),
            (two, 1, one),
            (three, 7, one),
            (two, 2, three),
        ):
            assert replies.add(caller, request, callee, 0)
        asked, serving = replies.forget(one)
        assert asked == [(1, two), (2, three)]
        assert sorted((request, caller.id) for request, caller in serving) == [(1, two.id), (7, three.id)]
        assert len(replies) == 1
        assert replies.forget(one) == ([], [])
        assert replies.forget(two) == ([(2, three)], [])
        assert replies.forget(three) == ([], [])
        assert not replies._asked
        assert not replies._serving


async def test_a_request_is_cancelled_once(address: str) -> None:
    async with Bus(address) as bus:
        caller, callee, other = await peers(bus, 3)
        replies = new()
        assert replies.cancel(caller, 1) is None
        for request, answerer in ((1, callee), (2, callee), (3, other)):
            replies.add(caller, request, answerer, 0)
            assert replies.cancel(caller, request) is answerer
            assert replies.cancel(caller, request) is None
        assert replies.claim(caller, 1, callee)
        assert replies.cancel(caller, 1) is None
        # The number is another request's now.
        replies.add(caller, 1, callee, 0)
        assert replies.cancel(caller, 1) is callee
        replies.forget(other)
        replies.forget(caller)
        assert not replies._cancelled


async def test_one_that_asked_itself_leaves_nothing(address: str) -> None:
    async with Bus(address) as bus:
        (peer,) = await peers(bus, 1)
        replies = new()
        replies.add(peer, 1, peer, 0)
        assert replies.forget(peer) == ([], [])
        assert len(replies) == 0
        assert not replies._asked
        assert not replies._serving


class Slow:
    """A handler that answers only when it is cancelled, or not even then."""

    def __init__(self) -> None:
        self.cancelled = 0

    async def __call__(self, event: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


def pass_time(deadlines: Deadlines[Any] | None) -> None:
    """Let the one deadline that is kept come, now that what it ends has begun for certain."""
    assert deadlines is not None
    ((_, *rest),) = deadlines._heap
    deadlines._heap[:] = [(0.0, *rest)]
    deadlines._run()


@pytest.mark.contract("5.7")
async def test_the_broker_keeps_the_deadline_of_a_forwarded_invoke(address: str) -> None:
    async with Bus(address) as bus:
        caller, callee, slow = await bus.renderer(), await bus.renderer(), Slow()
        callee.handle("x", slow, senders="any")
        session = caller._session
        assert session is not None
        # A caller whose own clock is late.
        route = session.routes.to(callee.id)
        reply = session.calls.open("x", 999, route, 1_000_000)
        route.charge(1)
        session.outbox.put(build(Kind.INVOKE, callee.id, 999, b"\x80", value=1_000_000, channel=b"x"))
        await until(lambda: callee.stats()["running"])
        pass_time(bus.hub.replies._deadlines)
        with pytest.raises(InvokeTimeout):
            await within(reply)
        assert slow.cancelled == 1
        assert len(bus.hub.replies) == 0


@pytest.mark.contract("5.7")
async def test_a_deadline_that_was_met_cancels_nobody(address: str) -> None:
    async with Bus(address) as bus:
        caller, callee, slow = await bus.renderer(), await bus.renderer(), Slow()
        callee.handle("quick", lambda event: "quick", senders="any")
        callee.handle("x", slow, senders="any")
        assert await caller.invoke_to(callee.id, "quick", timeout=1000) == "quick"
        reply = caller.invoke_to(callee.id, "x", timeout=2000)
        await until(lambda: callee.stats()["running"])
        deadlines = bus.hub.replies._deadlines
        met, due = sorted(deadlines._heap)
        deadlines._heap[:] = [(0.0, *met[1:]), due]
        deadlines._run()
        await bus.reached(callee)
        assert slow.cancelled == 0
        deadlines._heap[:] = [(0.0, *due[1:])]
        deadlines._run()
        with pytest.raises(InvokeTimeout):
            await within(reply)
        assert slow.cancelled == 1
        assert not deadlines._heap


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("how", ["cancel", "timeout", "leave"])
async def test_a_caller_that_stops_waiting_cancels_the_callee_once(how: str, address: str) -> None:
    async with Bus(address) as bus:
        caller, callee, slow = await bus.renderer(), await bus.renderer(), Slow()
        callee.handle("x", slow, senders="any")
        reply = caller.invoke_to(callee.id, "x", timeout=1000)
        await until(lambda: callee.stats()["running"])
        if how == "cancel":
            reply.cancel()
        elif how == "timeout":
            assert caller._session is not None
            pass_time(caller._session.calls._deadlines)
        elif how == "leave":
            await caller.aclose()
        await asyncio.gather(reply, return_exceptions=True)
        await until(lambda: slow.cancelled)
        await until(lambda: len(bus.hub.replies) == 0)
        await bus.reached(callee)
        assert slow.cancelled == 1
