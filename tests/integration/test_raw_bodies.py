"""Bodies on the raw wire: whose fault it is if one does not decode, and that the broker looks into none it forwards."""

import os
import random

import cbor2
import mainbus
import pytest
from mainbus_broker import Config, IpcMain
from mainbus_broker.config import Limits

from tests.support import raw as wire
from tests.support.bus import Bus, until, within
from tests.support.bystanders import bystanders, warnings
from tests.support.raw import Packet, Raw, args, raw

# Bodies that do not decode.

BAD_BODIES = {
    "no CBOR": b"\xff\xff",
    "cut off": args("text")[:-1],
    "something behind it": args() + b"\x00",
    "no list": cbor2.dumps({"a": 1}),
    "nothing": b"",
    "too deep": b"\x81" * 600 + b"\x00",
}


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_an_invoke_of_main_that_does_not_decode_is_answered_and_counted(
    address: str, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, "wrong") as renderer:
        told: list[tuple[object, str]] = []
        bus.broker.on("message-error", lambda contents, channel: told.append((contents.name, channel)))
        caplog.clear()
        renderer.write(Packet(wire.INVOKE, request=9, channel=b"bus:ping", body=body))
        error, goodbye = await renderer.rest()
        assert (error.kind, error.request, error.value) == (wire.ERROR, 9, mainbus.BadMessage.wire_code)
        assert "bus:ping" in error.said
        assert goodbye.kind == wire.GOODBYE
        assert goodbye.body.decode().startswith("sent a body on channel 'bus:ping' that does not decode: ")
        assert told == [("wrong", "bus:ping")]
        assert bus.broker.stats()["bad_messages"] == 1
        assert [warning for warning in warnings(caplog) if warning.startswith("closing")] == [
            f"closing renderer {renderer.id} (wrong) pid {os.getpid()}: {goodbye.body.decode()}"
        ]


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("kind", [wire.SEND, wire.POST])
async def test_bad_bodies_are_counted_up_to_the_limit(address: str, kind: int) -> None:
    got: list[tuple[object, ...]] = []
    ipc_main = IpcMain()
    ipc_main.on("c", lambda event, *args: got.append(args))
    config = Config(limits=Limits(max_bad_messages=3))
    async with Bus(address, ipc_main=ipc_main, config=config) as bus, bystanders(bus), raw(address) as renderer:
        for count in (1, 2):
            renderer.write(Packet(kind, channel=b"c", body=b"\xff"), Packet(kind, channel=b"c", body=args(count)))
            assert await renderer.is_served()
            assert bus.broker.stats()["bad_messages"] == count
        renderer.write(Packet(kind, channel=b"c", body=b"\xff"))
        assert (await renderer.next(wire.GOODBYE)).body
        assert got == [(1,), (2,)]


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
async def test_the_sender_of_a_forwarded_body_is_at_fault_not_its_receiver(address: str, body: bytes) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, "wrong") as renderer:
        told: list[tuple[object, ...]] = []
        bus.broker.on("message-error", lambda contents, channel: told.append(("broker", contents.name, channel)))
        victim = await bus.renderer("victim")
        victim.handle("c", lambda event, *args: None, senders="any")
        victim.events.on("message-error", lambda *args: told.append(("victim", *args)))
        renderer.write(Packet(wire.INVOKE, peer=victim.id, request=3, channel=b"c", body=body))
        packets = await renderer.rest()
        assert packets[-1].kind == wire.GOODBYE
        assert told == [("victim", renderer.id, "c"), ("broker", "wrong", "c")]
        assert victim.is_connected
        assert await within(victim.invoke("bus:ping")) is None


@pytest.mark.contract("8.7")
async def test_the_caller_with_a_bad_body_is_answered_with_bad_message(address: str) -> None:
    config = Config(limits=Limits(max_bad_messages=2))
    async with Bus(address, config=config) as bus, raw(address, "wrong") as renderer:
        victim = await bus.renderer("victim")
        victim.handle("c", lambda event, *args: None, senders="any")
        renderer.write(Packet(wire.INVOKE, name=b"victim", flags=wire.BY_NAME, request=3, channel=b"c", body=b"\xff"))
        error = await renderer.next(wire.ERROR)
        assert (error.request, error.value) == (3, mainbus.BadMessage.wire_code)
        assert await renderer.is_served()
        assert bus.broker.stats()["bad_messages"] == 1


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("kind", [wire.RESULT, wire.ERROR])
async def test_a_bad_answer_is_its_senders_fault(address: str, kind: int) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, "wrong") as renderer:
        caller = await bus.renderer("caller")
        reply = caller.invoke_to("wrong", "c")
        invoke = await renderer.next(wire.INVOKE)
        renderer.write(Packet(kind, peer=invoke.peer, request=invoke.request, value=1, body=b"\xff"))
        with pytest.raises(mainbus.BadMessage):
            await within(reply)
        assert (await renderer.rest())[-1].kind == wire.GOODBYE
        assert caller.is_connected


@pytest.mark.contract("8.7")
async def test_a_bad_answer_to_main_is_its_senders_fault(address: str) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, "wrong") as renderer:
        reply = bus.hub.renderers.names["wrong"].contents.invoke("c")
        invoke = await renderer.next(wire.INVOKE)
        renderer.write(Packet(wire.RESULT, request=invoke.request, body=b"\xff"))
        with pytest.raises(mainbus.BadMessage):
            await within(reply)
        assert (await renderer.rest())[-1].kind == wire.GOODBYE


# Accusations.


@pytest.mark.contract("8.7")
async def test_a_false_accusation_is_ignored(address: str) -> None:
    async with Bus(address) as bus, bystanders(bus, gap=True), raw(address, "liar") as liar:
        target = bus.hub.renderers.names["other"].id
        # Of somebody who never sent to it: not even after it has sent there itself, nor of nobody, main or itself.
        liar.write(Packet(wire.SEND, peer=target, channel=b"c", body=args()))
        liar.write(*[Packet(wire.BAD_MESSAGE, peer=peer, channel=b"c") for peer in (target, 0, 77, liar.id)])
        assert await liar.is_served()
        assert bus.broker.stats()["bad_messages"] == 0
        assert target in bus.hub.renderers.ids


@pytest.mark.contract("8.7")
async def test_who_is_told_of_nothing_can_call_nothing_undeliverable(address: str) -> None:
    async with Bus(address) as bus, bystanders(bus, gap=True), raw(address, "liar") as liar:
        target = bus.hub.renderers.names["other"].id
        liar.write(Packet(wire.SEND, peer=target, channel=b"c", body=args()))
        liar.write(Packet(wire.UNDELIVERABLE, peer=target, channel=b"c", body=b"\xff"))
        assert await liar.is_served()


# What is only forwarded is never looked into.


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("size", [0, 1, 1000, wire.FRAGMENT, wire.FRAGMENT + 1, 3 * 1024 * 1024 + 1])
async def test_bodies_are_forwarded_unchanged(address: str, size: int) -> None:
    body = random.Random(size).randbytes(size)
    async with Bus(address) as bus, raw(address, "sender") as sender, raw(address, "target") as target:
        for packet in (
            Packet(wire.SEND, peer=target.id),
            Packet(wire.POST, flags=wire.BY_NAME, name=b"target"),
            Packet(wire.INVOKE, peer=target.id, request=0xFFFF_FFFF, value=5),
            Packet(wire.BROADCAST),
        ):
            await exchange(sender, target, packet._replace(channel="ä".encode(), frame=3, body=body))
        # The answer to the invoke, back.
        answer = Packet(wire.RESULT, peer=sender.id, request=0xFFFF_FFFF, body=body)
        target.write(*(wire.fragments(answer) or [answer]))
        got = await within(sender.message(wire.RESULT))
        assert got == answer._replace(peer=target.id, name=b"target")
        assert not bus.hub.replies
        assert not bus.hub.renderers.ids[sender.id].streams
        assert not bus.hub.renderers.ids[target.id].streams


async def exchange(sender: Raw, target: Raw, packet: Packet) -> None:
    """Send a message, in fragments if need be, and see it arrive with nothing but its addressing changed."""
    sender.write(*(wire.fragments(packet) or [packet]))
    got = await within(target.message(packet.kind))
    assert got == packet._replace(peer=sender.id, name=b"sender")


async def test_fragments_of_several_pairs_and_streams_interleave(address: str) -> None:
    async with Bus(address), raw(address, "sender") as sender, raw(address, "one") as one, raw(address, "two") as two:
        bodies = [random.Random(number).randbytes(1000) for number in range(4)]
        messages = [
            Packet(wire.SEND, peer=one.id, channel=b"c", body=bodies[0]),
            Packet(wire.SEND, peer=two.id, channel=b"c", body=bodies[1]),
            Packet(wire.POST, name=b"one", flags=wire.BY_NAME, channel=b"c", body=bodies[2]),
            Packet(wire.BROADCAST, channel=b"c", body=bodies[3]),
        ]
        for parts in zip(*[wire.fragments(message, 100) for message in messages], strict=True):
            sender.write(*parts)
        for target, expected in ((one, [0, 2, 3]), (two, [1, 3])):
            got: dict[tuple[int, int], bytes] = {}
            for _ in range(10 * len(expected)):
                part = await target.next(wire.SEND, wire.POST, wire.BROADCAST)
                key = (part.kind, part.flags & wire.BY_NAME)
                got[key] = got.get(key, b"") + part.body
            assert [*got.values()] == [bodies[number] for number in expected]


async def test_a_large_message_to_nobody_is_refused_once(address: str) -> None:
    async with Bus(address) as bus, raw(address) as sender:
        for packet in (
            Packet(wire.SEND, peer=77, channel=b"c", body=bytes(500)),
            Packet(wire.INVOKE, name=b"nobody", flags=wire.BY_NAME, request=4, channel=b"c", body=bytes(500)),
        ):
            sender.write(*wire.fragments(packet, 100))
        undeliverable = await sender.next(wire.UNDELIVERABLE)
        assert (undeliverable.peer, undeliverable.channel) == (77, b"c")
        error = await sender.next(wire.ERROR)
        assert (error.request, error.value) == (4, mainbus.NoSuchRenderer.wire_code)
        assert await sender.is_served()
        assert not bus.hub.renderers.ids[sender.id].streams


async def test_a_late_answer_in_fragments_is_dropped_as_a_whole(address: str) -> None:
    async with Bus(address) as bus, raw(address, "caller") as caller, raw(address, "callee") as callee:
        answer = Packet(wire.RESULT, peer=caller.id, request=6, body=bytes(500))
        callee.write(*wire.fragments(answer, 100))
        assert await callee.is_served()
        caller.write(Packet(wire.SEND, peer=caller.id, channel=b"last"))
        assert (await caller.read() or Packet(0)).channel == b"last"
        assert not bus.hub.renderers.ids[callee.id].streams


async def test_a_sender_that_dies_in_the_middle_of_a_message_is_aborted(address: str) -> None:
    async with Bus(address) as bus, raw(address, "target") as target:
        async with raw(address, "sender") as sender:
            sender.write(Packet(wire.SEND, peer=target.id, flags=wire.MORE, channel=b"c", body=b"x"))
            sender.write(Packet(wire.BROADCAST, flags=wire.MORE, channel=b"c", body=b"x"))
            for _ in range(2):
                await target.next(wire.SEND, wire.BROADCAST)
        assert (await target.next(wire.ABORT)).peer == sender.id
        assert (await target.next(wire.GAP)).peer == sender.id
        assert not bus.hub.renderers.ids[target.id].partners


async def test_a_target_that_dies_in_the_middle_of_a_message_costs_its_sender_nothing(address: str) -> None:
    async with Bus(address) as bus, raw(address, "sender") as sender:
        async with raw(address, "target") as target:
            first, *rest = wire.fragments(Packet(wire.SEND, peer=target.id, channel=b"c", body=bytes(500)), 100)
            sender.write(first)
            await target.next(wire.SEND)
            gone = bus.hub.renderers.ids[target.id]
        await sender.next(wire.GAP)
        sender.write(*rest)
        assert await sender.is_served()
        assert gone.outbox.queued == 0
        assert not bus.hub.renderers.ids[sender.id].streams


async def test_who_sends_to_itself_leaves_in_peace(address: str) -> None:
    async with Bus(address) as bus, bystanders(bus):
        async with raw(address, "alone") as alone:
            alone.write(Packet(wire.SEND, peer=alone.id, channel=b"c", body=args(1)))
            assert (await alone.next(wire.SEND)).peer == alone.id
        await until(lambda: alone.id not in bus.hub.renderers.ids)
