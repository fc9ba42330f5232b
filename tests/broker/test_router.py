"""Where packets go: to another renderer as the same bytes, to the main process, to a registry, or nowhere."""

import asyncio

import pytest
from mainbus import IpcRenderer, NoHandlerError, NoSuchRenderer, TooManyRequests
from mainbus.wire.packets import MAIN, Kind, build
from mainbus_broker import Config, Limits

from tests.support import raw as wire
from tests.support.bus import Bus, Calls, until, within
from tests.support.bystanders import bystanders
from tests.support.raw import Packet, args, fragments, raw

LARGE = "x" * 300_000


def inject(renderer: IpcRenderer, *packets: bytes) -> None:
    """Write packets past all that the client checks and counts."""
    assert renderer._session is not None
    for packet in packets:
        renderer._session.outbox.put(packet)


async def settled(bus: Bus, source: IpcRenderer, target: IpcRenderer) -> None:
    """Wait until what one renderer has sent to another has been started there."""
    await bus.served(source)
    await bus.reached(target)


# From renderer to renderer.


@pytest.mark.contract("3.7")
@pytest.mark.parametrize("value", [7, LARGE])
async def test_a_message_goes_by_id_and_by_name(value: object, address: str) -> None:
    async with Bus(address) as bus:
        one, two, heard, never = await bus.renderer("ünö"), await bus.renderer("zwei"), Calls(), Calls()
        two.on("x", heard, senders="renderers")
        one.on("x", never, senders="any")
        bus.ipc_main.on("x", never)
        one.send_to(two.id, "x", value)
        one.send_to("zwei", "x", value)
        await heard.wait(2)
        assert heard.args == [(value,), (value,)]
        assert {(event.sender_id, event.sender_name) for event, _ in heard.calls} == {(one.id, "ünö")}
        assert never.calls == []


@pytest.mark.contract("3.7")
async def test_zero_is_the_main_process(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        bus.ipc_main.on("x", heard)
        bus.ipc_main.handle("x", lambda event: "main")
        renderer.send_to(MAIN, "x", 1)
        assert await renderer.invoke_to(MAIN, "x") == "main"
        assert heard.args == [(1,)]


@pytest.mark.contract("3.7")
@pytest.mark.parametrize("target", ["nobody", 99])
@pytest.mark.parametrize("value", [7, LARGE])
async def test_an_unknown_target_is_named_to_the_sender_once(target: int | str, value: object, address: str) -> None:
    async with Bus(address) as bus:
        renderer, told = await bus.renderer(), Calls()
        renderer.events.on("undeliverable", told)
        renderer.send_to(target, "x", value)
        with pytest.raises(NoSuchRenderer, match=str(target)):
            await renderer.invoke_to(target, "x", value)
        assert told.calls == [(target, "x", "no such renderer")]
        await bus.served(renderer)
        assert len(told.calls) == 1


@pytest.mark.contract("3.7")
async def test_a_target_that_does_not_listen_is_named_to_the_sender(address: str) -> None:
    async with Bus(address) as bus:
        one, two, told = await bus.renderer(), await bus.renderer("two"), Calls()
        one.events.on("undeliverable", told)
        two.on("main only", print)
        for target in ("two", two.id):
            one.send_to(target, "main only")
            one.send_to(target, "nobody listens")
            with pytest.raises(NoHandlerError):
                await one.invoke_to(target, "x")
        await told.wait(4)
        reason = "nobody listens there"
        assert told.calls == [
            ("two", "main only", reason),
            ("two", "nobody listens", reason),
            (two.id, "main only", reason),
            (two.id, "nobody listens", reason),
        ]


@pytest.mark.contract("3.7")
async def test_nobody_can_call_undeliverable_what_it_was_never_sent(address: str) -> None:
    async with Bus(address) as bus:
        one, two, told = await bus.renderer(), await bus.renderer(), Calls()
        one.events.on("undeliverable", told)
        inject(two, build(Kind.UNDELIVERABLE, one.id, channel=b"x", body=b"a lie"))
        inject(two, build(Kind.UNDELIVERABLE, 99, channel=b"x", body=b"a lie"))
        inject(two, build(Kind.BAD_MESSAGE, one.id, channel=b"x"), build(Kind.BAD_MESSAGE, 99, channel=b"x"))
        await settled(bus, two, one)
        assert told.calls == []
        assert bus.broker.stats()["bad_messages"] == 0


@pytest.mark.contract("3.8")
@pytest.mark.parametrize("value", [7, LARGE])
async def test_a_broadcast_reaches_every_other_renderer_and_not_main(value: object, address: str) -> None:
    async with Bus(address) as bus:
        renderers = [await bus.renderer(name) for name in ("a", "b", "c")]
        heard = [Calls() for _ in renderers]
        never, told = Calls(), Calls()
        bus.ipc_main.on("x", never)
        for renderer, calls in zip(renderers, heard, strict=True):
            renderer.on("x", calls, senders="renderers")
        renderers[0].events.on("undeliverable", told)
        renderers[0].broadcast("x", value)
        renderers[0].broadcast("nobody listens")
        await heard[1].wait()
        await heard[2].wait()
        await settled(bus, renderers[0], renderers[0])
        assert [len(calls.calls) for calls in heard] == [0, 1, 1]
        assert heard[1].args == [(value,)]
        assert heard[1].calls[0][0].sender_id == renderers[0].id
        assert never.calls == told.calls == []


@pytest.mark.contract("2.19")
async def test_who_an_id_is_can_be_asked(address: str) -> None:
    async with Bus(address) as bus, raw(address, "ünö") as one, raw(address) as two:
        for peer, value, name in ((one.id, 1, "ünö"), (two.id, 1, ""), (two.id + 1, 0, ""), (MAIN, 0, "")):
            two.write(Packet(wire.WHO, peer=peer))
            assert await two.next(wire.WHO) == Packet(wire.WHO, peer=peer, value=value, name=name.encode())
        await one.close()
        await until(lambda: one.id not in bus.hub.renderers.ids)
        two.write(Packet(wire.WHO, peer=one.id))
        assert (await two.next(wire.WHO)).value == 0


@pytest.mark.contract("3.7")
async def test_one_may_send_to_itself(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer("me"), Calls()
        renderer.on("x", heard, senders="any")
        renderer.handle("x", lambda event: event.sender_id, senders="any")
        renderer.send_to("me", "x", 1)
        assert await within(renderer.invoke_to("me", "x")) == renderer.id
        assert heard.args == [(1,)]


# Invokes and their answers.


@pytest.mark.contract("3.7")
async def test_answers_of_any_size_come_back(address: str) -> None:
    async with Bus(address) as bus:
        one, two = await bus.renderer(), await bus.renderer()
        two.handle("x", lambda event, value: value, senders="any")
        replies = [one.invoke_to(two.id, "x", value) for value in (1, LARGE, 2, LARGE, None)]
        assert await within(asyncio.gather(*replies)) == [1, LARGE, 2, LARGE, None]
        assert len(bus.hub.replies) == 0


@pytest.mark.contract("5.7")
async def test_an_answer_that_nobody_waits_for_goes_nowhere(address: str) -> None:
    async with Bus(address) as bus:
        one, two, other, release = await bus.renderer(), await bus.renderer(), await bus.renderer(), asyncio.Event()

        async def stubborn(event: object) -> str:
            while not release.is_set():
                try:
                    await release.wait()
                except asyncio.CancelledError:
                    continue
            return "late"

        two.handle("x", stubborn, senders="any")
        reply = one.invoke_to(two.id, "x")
        await until(lambda: two.stats()["running"])
        assert one._session is not None
        # Answered by one that was not asked, or with a number that was not asked with.
        inject(other, build(Kind.RESULT, one.id, reply.request, b"\x01"))
        inject(two, build(Kind.RESULT, one.id, 999, b"\x01"), build(Kind.RESULT, 99, reply.request, b"\x01"))
        await settled(bus, other, one)
        await settled(bus, two, one)
        assert not reply.done()
        assert len(bus.hub.replies) == 1
        reply.cancel()
        release.set()
        await until(lambda: len(bus.hub.replies) == 0)
        await settled(bus, two, one)
        assert one.stats()["pending"] == 0


async def test_a_request_number_that_is_in_use_closes_its_sender_only(address: str) -> None:
    async with Bus(address) as bus:
        one, two, gone = await bus.renderer(reconnect=False), await bus.renderer(), Calls()
        two.handle("x", lambda event: asyncio.Event().wait(), senders="any")
        bus.contents(one).on("destroyed", gone)
        packet = build(Kind.INVOKE, two.id, 7, b"\x80", channel=b"x")
        inject(one, packet, packet)
        await gone.wait()
        await until(lambda: not two.stats()["running"])
        await bus.served(two)


@pytest.mark.contract("8.6", "9.3")
async def test_more_pending_invokes_than_allowed_are_refused_by_name(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(pending=2))) as bus:
        one, two, release = await bus.renderer(), await bus.renderer(), asyncio.Event()

        async def wait(event: object) -> str:
            await release.wait()
            return "done"

        two.handle("x", wait, senders="any")
        replies = [one.invoke_to(two.id, "x") for _ in range(2)]
        await until(lambda: two.stats()["running"] == 2)
        session = one._session
        assert session is not None
        # Past the client, which would hold it back.
        route = session.routes.to(two.id)
        route.charge(1)
        extra = session.calls.open("x", 999, route, None)
        inject(one, build(Kind.INVOKE, two.id, 999, b"\x80", channel=b"x"))
        with pytest.raises(TooManyRequests):
            await within(extra)
        release.set()
        assert await within(asyncio.gather(*replies)) == ["done", "done"]


async def test_a_cancel_of_what_was_never_asked_harms_nobody(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        inject(renderer, build(Kind.CANCEL, MAIN, 999))
        await bus.served(renderer)


@pytest.mark.contract("8.6")
async def test_a_callee_is_told_once_that_a_request_was_cancelled(address: str) -> None:
    async with Bus(address) as bus, raw(address, "callee") as callee, raw(address, "caller") as caller:
        cancel = Packet(wire.CANCEL, request=1)
        caller.write(Packet(wire.INVOKE, peer=callee.id, request=1, channel=b"x", body=args()), *[cancel] * 100)
        assert await caller.is_served()
        caller.write(Packet(wire.SEND, peer=callee.id, channel=b"x", body=args()))
        got = [await callee.read() for _ in range(3)]
        assert [packet.kind for packet in got if packet is not None] == [wire.INVOKE, wire.CANCEL, wire.SEND]
        callee.write(Packet(wire.RESULT, peer=caller.id, request=1, body=args()))
        await caller.next(wire.RESULT)
        assert not bus.hub.replies._cancelled


# Large messages whose ends go.


@pytest.mark.contract("9.5", "9.1")
async def test_a_sender_that_dies_inside_a_large_message_leaves_nothing_of_it(address: str) -> None:
    async with Bus(address) as bus:
        one, two, heard = await bus.renderer(reconnect=False), await bus.renderer(), Calls()
        gap = Calls()
        two.on("x", heard, senders="any")
        two.events.on("gap", gap)
        first = build(Kind.SEND, two.id, 0, b"\x81", flags=1, channel=b"x")
        inject(one, first)
        await bus.served(one)
        assert one._session is not None
        assert one._session.link is not None
        one._session.link.abort()
        assert await gap.wait() == ()
        another = await bus.renderer()
        another.send_to(two.id, "x", LARGE)
        await heard.wait()
        assert heard.args == [(LARGE,)]


@pytest.mark.contract("9.5")
async def test_a_target_that_dies_inside_a_large_message_costs_its_sender_nothing(address: str) -> None:
    async with Bus(address) as bus:
        one, two, three, heard = await bus.renderer(), await bus.renderer(), await bus.renderer(), Calls()
        three.on("x", heard, senders="any")
        inject(one, build(Kind.SEND, two.id, 0, b"\x81", flags=1, channel=b"x"))
        inject(one, build(Kind.BROADCAST, MAIN, 0, b"\x81", flags=1, channel=b"x"))
        await bus.served(one)
        gone = two.id
        await two.aclose()
        inject(one, build(Kind.SEND, gone, 0, b"\x07", flags=2))
        inject(one, build(Kind.BROADCAST, MAIN, 0, b"\x07", flags=2))
        await heard.wait()
        assert heard.args == [(7,)]
        await bus.served(one)
        one.send_to(three.id, "x", 8)
        await heard.wait(2)


@pytest.mark.contract("3.8")
async def test_who_comes_inside_a_large_broadcast_gets_nothing_of_it(address: str) -> None:
    async with Bus(address) as bus:
        one, two, heard, never = await bus.renderer(), await bus.renderer(), Calls(), Calls()
        two.on("x", heard, senders="any")
        inject(one, build(Kind.BROADCAST, MAIN, 0, b"\x81", flags=1, channel=b"x"))
        await bus.served(one)
        late = await bus.renderer()
        late.on("x", never, senders="any")
        inject(one, build(Kind.BROADCAST, MAIN, 0, b"\x07", flags=2))
        await heard.wait()
        await settled(bus, one, late)
        assert heard.args == [(7,)]
        assert never.calls == []
        assert late.is_connected


# Bounds.


SMALL = Config(limits=Limits(low=1000, high=2000, hard=20_000))


@pytest.mark.contract("9.3")
@pytest.mark.parametrize("kind", [wire.SEND, wire.INVOKE])
async def test_who_does_not_read_what_its_own_messages_cause_is_closed(address: str, kind: int) -> None:
    async with Bus(address, config=SMALL) as bus, bystanders(bus), raw(address, "deaf") as deaf:
        deaf.write(*[Packet(kind, peer=99, request=n, channel=b"c" * 255) for n in range(1, 30_000)])
        await until(lambda: deaf.id not in bus.hub.renderers.ids)
        assert bus.broker.stats()["slow_consumers"] == 1


async def test_one_who_is_closed_for_it_as_a_large_invoke_begins_leaves_nothing(address: str) -> None:
    config = Config(limits=Limits(low=1000, high=2000, hard=20_000, pending=1))
    async with Bus(address, config=config) as bus, bystanders(bus), raw(address, "deaf") as deaf:
        target = await bus.renderer("silent")
        target.handle("c", lambda event: asyncio.Event().wait(), senders="any")
        deaf.write(Packet(wire.INVOKE, peer=target.id, request=1, channel=b"c", body=args()))
        for request in range(2, 10_000):
            large = Packet(wire.INVOKE, peer=target.id, request=request, channel=b"c" * 255, body=args(1))
            deaf.write(*fragments(large, 1))
        await until(lambda: deaf.id not in bus.hub.renderers.ids)


async def test_nobody_is_closed_for_notices_of_others(address: str) -> None:
    async with Bus(address, config=SMALL) as bus, raw(address, "one") as one, raw(address, "other") as other:
        one.write(Packet(wire.SEND, peer=other.id, channel=b"c", body=args()))
        await other.next(wire.SEND)
        notice = Packet(wire.UNDELIVERABLE, peer=one.id, channel=b"c" * 255, body=b"r" * 1000)
        for _ in range(100):
            other.write(*[notice] * 100)
            assert await other.is_served()
        stats = bus.broker.stats()
        assert stats["dropped_notices"]
        assert stats["slow_consumers"] == 0
        # It reads at last.
        assert await one.is_served()
