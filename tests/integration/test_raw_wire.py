"""What a peer may write that no client of ours would: faults are named, closed and logged once, others notice nothing."""

import asyncio
import logging
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import cbor2
import pytest

import mainbus
from mainbus_broker import Config, IpcMain
from mainbus_broker.config import Limits
from tests.support import raw as wire
from tests.support.bus import Bus, until, within
from tests.support.raw import Packet, Raw, args, raw
from tests.support.renderers import broker_process

REFUSED_BY_NAME = 22
"""The code of a RemoteProtocolError."""

SMALL = Limits(message=300_000)


@asynccontextmanager
async def bystanders(bus: Bus, *, gap: bool = False) -> AsyncIterator[None]:
    """Two well-behaved renderers, which must notice nothing of what happens inside.

    Args:
        bus: Where they are.
        gap: Whether something was sent to them by who died then.
    """
    events: list[tuple[object, ...]] = []
    one, other = await bus.renderer("one"), await bus.renderer("other")
    other.handle("double", lambda event, number: 2 * number, senders="renderers")
    for renderer in (one, other):
        for event in ("disconnected", "reconnected", "gap", "undeliverable", "message-error"):
            renderer.events.on(event, lambda *told, event=event: events.append((event, *told)))
    assert await within(one.invoke_to("other", "double", 1)) == 2
    yield
    assert await within(one.invoke_to("other", "double", 21)) == 42
    assert await within(other.invoke("bus:ping")) is None
    assert {event for event, *_ in events} == ({"gap"} if gap else set())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the broker has logged that somebody should read."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# Before the handshake.


def packet(kind: int, **fields: Any) -> bytes:
    return Packet(kind, **fields).encode()


def resized(packet: bytes, length: int) -> bytes:
    """A packet that claims another length."""
    return length.to_bytes(4, "big") + packet[4:]


HELLO = {"version": 1}

STRANGERS = {
    "another protocol": (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "packet of 1195725856 bytes"),
    "zeros": (bytes(24), "packet of 0 bytes"),
    "another version": (packet(wire.HELLO, body=cbor2.dumps({"version": 2})), "protocol version 2 where 1 is spoken"),
    "a version that is none": (packet(wire.HELLO, body=cbor2.dumps({"version": "1"})), "Hello does not decode"),
    "a version of numbers": (
        packet(wire.HELLO, body=cbor2.dumps({"version": cbor2.CBORTag(40, [[2], cbor2.CBORTag(64, b"\x01\x02")])})),
        "Hello does not decode",
    ),
    "no map": (packet(wire.HELLO, body=cbor2.dumps([1])), "Hello does not decode"),
    "no CBOR": (packet(wire.HELLO, body=b"\xff\x00garbage"), "Hello does not decode"),
    "no body": (packet(wire.HELLO), "Hello does not decode"),
    "nested": (packet(wire.HELLO, body=b"\x81" * 1000 + b"\x00"), "Hello does not decode"),
    "a name that is none": (packet(wire.HELLO, body=cbor2.dumps({**HELLO, "name": 5})), "Hello does not decode"),
    "no hello first": (packet(wire.SEND, channel=b"c"), "unexpected packet of kind SEND while connected"),
    "an unknown kind": (packet(200), "unexpected packet of kind 200 while connected"),
    "the broker's part": (packet(wire.WELCOME), "unexpected packet of kind WELCOME while connected"),
    "unknown flags": (packet(wire.HELLO, flags=0xF8), "unknown flags 0xf8"),
    "in fragments": (packet(wire.HELLO, flags=wire.MORE), "packet of kind HELLO in fragments"),
    "a name that is no text": (packet(wire.HELLO, name=b"\xff"), "name or channel is not UTF-8"),
    "too long": (packet(wire.HELLO, body=bytes(wire.FRAGMENT + 1)), "packet of 131097 bytes"),
    "shorter than a header": (resized(packet(wire.HELLO), 23), "packet of 23 bytes"),
    "longer than a packet may be": (resized(packet(wire.HELLO), 0xFFFF_FFFF), "packet of 4294967295 bytes"),
}


@pytest.mark.contract("8.7")
@pytest.mark.parametrize(("said", "text"), STRANGERS.values(), ids=STRANGERS)
async def test_a_stranger_is_refused_by_name(
    address: str, caplog: pytest.LogCaptureFixture, said: bytes, text: str
) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, hello=False) as stranger:
        caplog.clear()
        stranger.write(said)
        [refused] = await stranger.rest()
        assert refused.kind == wire.REFUSED
        assert refused.value == REFUSED_BY_NAME
        assert text in refused.said
        [warning] = warnings(caplog)
        assert str(os.getpid()) in warning
        assert text in warning
        assert bus.broker.stats()["refused"] == 1


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("said", [b"", packet(wire.HELLO, body=cbor2.dumps(HELLO))[:-1]], ids=["nothing", "half a hello"])
async def test_who_says_no_whole_hello_is_refused_in_time(address: str, said: bytes) -> None:
    config = Config(limits=Limits(handshake_timeout=0.05))
    async with Bus(address, config=config) as bus, bystanders(bus), raw(address, hello=False) as stranger:
        stranger.write(said)
        [refused] = await stranger.rest()
        assert refused.kind == wire.REFUSED
        assert refused.said.endswith("no hello in 0.05 s")
        assert bus.broker.stats()["refused"] == 1
        assert not bus.hub.entering


async def test_who_leaves_in_the_middle_of_a_hello_is_forgotten(address: str) -> None:
    async with Bus(address) as bus, bystanders(bus):
        async with raw(address, hello=False) as stranger:
            stranger.write(packet(wire.HELLO, body=cbor2.dumps(HELLO))[:-1])
            await until(lambda: bus.hub.entering)
        await until(lambda: not bus.hub.entering)
        assert bus.broker.stats()["refused"] == 0


async def test_what_stands_behind_a_hello_is_served(address: str) -> None:
    async with Bus(address) as bus, raw(address, hello=False) as renderer:
        renderer.write(
            Packet(wire.HELLO, body=cbor2.dumps(HELLO)), Packet(wire.INVOKE, request=7, channel=b"bus:ping", body=args())
        )
        assert (await renderer.next(wire.WELCOME)).said["id"] == 1
        assert (await renderer.next(wire.RESULT)).request == 7
        assert len(bus.hub.renderers) == 1


async def test_what_this_version_does_not_know_in_a_hello_is_ignored(address: str) -> None:
    async with Bus(address), raw(address, colour="blue", features=["telepathy"]) as renderer:
        assert await renderer.is_served()


# After it.


def to_main(kind: int = wire.SEND, **fields: Any) -> Callable[[int], Packet]:
    return lambda target: Packet(kind, **fields)


def to_other(kind: int = wire.SEND, **fields: Any) -> Callable[[int], Packet]:
    return lambda target: Packet(kind, peer=target, **fields)


C = {"channel": b"c"}

TOO_LARGE_FOR_ALL: list[Callable[[int], Packet | bytes]] = [to_main(wire.BROADCAST, body=bytes(300_001), **C)]

FAULTS: dict[str, tuple[list[Callable[[int], Packet | bytes]], str]] = {
    "an unknown kind": ([to_main(99)], "unexpected packet of kind 99 while open"),
    "a second hello": ([to_main(wire.HELLO, body=cbor2.dumps(HELLO))], "unexpected packet of kind HELLO while open"),
    "what only the broker says": ([to_main(wire.JOINED, peer=2)], "unexpected packet of kind JOINED while open"),
    "a repeat without a lane": ([to_main(wire.REPEAT)], "unexpected packet of kind REPEAT while open"),
    "unknown flags": ([to_main(flags=8, **C)], "unknown flags 0x8"),
    "a cancel in fragments": ([to_main(wire.CANCEL, flags=wire.MORE)], "packet of kind CANCEL in fragments"),
    "no channel": ([to_main()], "packet of kind SEND without a channel"),
    "a channel that is no text": ([to_main(channel=b"\xc3\x28")], "name or channel is not UTF-8"),
    "a name that is no text": ([to_main(name=b"\xff\xfe", **C)], "name or channel is not UTF-8"),
    "a text cut in two": ([to_main(name=b"\xc3", channel=b"\xa4")], "name or channel is not UTF-8"),
    "shorter than its texts": ([lambda target: resized(packet(wire.SEND, **C), 24)], "packet of 24 bytes, with a name"),
    "longer than a packet": ([to_main(body=bytes(wire.FRAGMENT + 1), **C)], "packet of 131098 bytes"),
    "longer than a packet, to another": (
        # Shorter than the longest packet: with another name before it would not be, and its receiver would complain.
        [to_other(body=bytes(wire.FRAGMENT + 509), **C)],
        "packet of 131606 bytes",
    ),
    "garbage": ([lambda target: random.Random(5).randbytes(1000)], "packet of"),
    "an invoke twice, to main": (
        [to_main(wire.INVOKE, request=5, channel=b"wait", body=args())] * 2,
        "request 5 is pending already",
    ),
    "an invoke twice, to another": ([to_other(wire.INVOKE, request=5, **C)] * 2, "request 5 is pending already"),
    "too large, to main": ([to_main(body=bytes(300_001), **C)], "A message of 300001 bytes exceeds the limit of 300000"),
    "too large, to another": ([to_other(body=bytes(300_001), **C)], "exceeds the limit of 300000"),
    "too large, to all": (TOO_LARGE_FOR_ALL, "exceeds the limit of 300000"),
}
for label, where in {
    "main": to_main,
    "another": to_other,
    "a name": lambda kind=wire.SEND, **fields: to_main(kind, name=b"target", **{"flags": 0, **fields}),
}.items():
    first = where(wire.SEND, flags=wire.MORE, body=b"x", **C)
    FAULTS |= {
        f"a fragment without its first, to {label}": (
            [where(wire.SEND, flags=wire.CONTINUES)],
            "fragment of kind SEND without its first",
        ),
        f"a message inside another, to {label}": ([first, where(wire.SEND, **C)], "SEND inside another message"),
        f"two at once, to {label}": ([first, first], "SEND inside another message"),
        f"a fragment of another kind, to {label}": (
            [first, where(wire.INVOKE, flags=wire.CONTINUES)],
            "fragment of kind INVOKE without its first",
        ),
        f"a fragment of another request, to {label}": (
            [first, where(wire.SEND, request=1, flags=wire.CONTINUES)],
            "fragment of kind SEND without its first",
        ),
        f"an answer's fragment without its first, to {label}": (
            [where(wire.RESULT, request=1, flags=wire.CONTINUES | wire.MORE)],
            "fragment of kind RESULT without its first",
        ),
        f"an answer's last fragment without its first, to {label}": (
            [where(wire.ERROR, request=1, flags=wire.CONTINUES)],
            "fragment of kind ERROR without its first",
        ),
    }
FAULTS |= {
    "a fragment without its first, to all": (
        [to_main(wire.BROADCAST, flags=wire.CONTINUES)],
        "fragment of kind BROADCAST without its first",
    ),
    "two at once, to all": (
        [to_main(wire.BROADCAST, flags=wire.MORE, **C), to_main(wire.BROADCAST, peer=7, flags=wire.MORE, **C)],
        "BROADCAST inside another message",
    ),
    "two at once, by a name and by its id": (
        [to_main(flags=wire.MORE, name=b"target", **C), to_other(flags=wire.MORE, **C)],
        "SEND inside another message",
    ),
}


@pytest.mark.contract("8.7")
@pytest.mark.parametrize(("said", "text"), FAULTS.values(), ids=FAULTS)
async def test_a_fault_in_a_header_closes_its_sender_by_name(
    address: str, caplog: pytest.LogCaptureFixture, said: list[Callable[[int], Packet | bytes]], text: str
) -> None:
    async def wait(event: object) -> None:
        await asyncio.Event().wait()

    config = Config(limits=SMALL, cancel_grace=60)
    async with (
        Bus(address, config=config) as bus,
        bystanders(bus, gap=said is TOO_LARGE_FOR_ALL or "BROADCAST inside" in text),
        raw(address, "target") as target,
        raw(address, "wrong") as renderer,
    ):
        bus.ipc_main.handle("wait", wait)
        caplog.clear()
        for make in said:
            made = make(target.id)
            if isinstance(made, Packet) and len(made.body) == 300_001:
                renderer.write(*wire.fragments(made))
            else:
                renderer.write(made)
        *_, goodbye = await renderer.rest()
        assert goodbye.kind == wire.GOODBYE
        assert text in goodbye.body.decode()
        [warning] = warnings(caplog)
        assert f"closing renderer {renderer.id} (wrong) pid {os.getpid()}" in warning
        assert text in warning
        assert renderer.id not in bus.hub.renderers.ids
        # Its target, which may have received parts of a message, is still there, and knows it no more.
        assert await target.is_served()
        assert not bus.hub.renderers.ids[target.id].partners


@pytest.mark.contract("8.7")
async def test_half_a_packet_and_silence_harm_nobody(address: str) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address) as renderer:
        renderer.write(packet(wire.SEND, channel=b"c", body=args("x"))[:-1])
        await until(lambda: bus.hub.renderers.ids[renderer.id].wire._have)
        await renderer.close()
        await until(lambda: renderer.id not in bus.hub.renderers.ids)


@pytest.mark.contract("8.7")
async def test_nothing_else_is_served_behind_a_fault(address: str) -> None:
    got: list[int] = []
    ipc_main = IpcMain()
    ipc_main.on("c", lambda event, number: got.append(number))
    async with Bus(address, ipc_main=ipc_main), raw(address) as renderer:
        renderer.write(*[Packet(wire.SEND, channel=b"c", body=args(number)) for number in (1, 2)])
        renderer.write(Packet(99), Packet(wire.SEND, channel=b"c", body=args(3)))
        await renderer.rest()
        assert got == [1, 2]


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
        assert goodbye.body.decode() == "sent a body on channel 'bus:ping' that does not decode"
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
        for kind, fields in {
            wire.SEND: {"peer": target.id},
            wire.POST: {"name": b"target", "flags": wire.BY_NAME},
            wire.INVOKE: {"peer": target.id, "request": 0xFFFF_FFFF, "value": 5},
            wire.BROADCAST: {},
        }.items():
            packet = Packet(kind, channel="ä".encode(), frame=3, body=body, **fields)
            await exchange(sender, target, packet)
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
        await sender.next(wire.GAP)
        sender.write(*rest)
        assert await sender.is_served()
        assert not bus.hub.renderers.ids[sender.id].streams


async def test_who_sends_to_itself_leaves_in_peace(address: str) -> None:
    async with Bus(address) as bus, bystanders(bus):
        async with raw(address, "alone") as alone:
            alone.write(Packet(wire.SEND, peer=alone.id, channel=b"c", body=args(1)))
            assert (await alone.next(wire.SEND)).peer == alone.id
        await until(lambda: alone.id not in bus.hub.renderers.ids)


# Pauses.


@pytest.mark.contract("9.2", "8.7")
@pytest.mark.parametrize("acknowledges", [True, False])
async def test_who_overruns_a_pause_is_closed_and_not_its_target(
    address: str, caplog: pytest.LogCaptureFixture, acknowledges: bool
) -> None:
    config = Config(limits=Limits(high=1000, low=100, overrun=5_000_000))
    async with (
        Bus(address, config=config) as bus,
        bystanders(bus),
        raw(address, "fast") as fast,
        raw(address, "slow") as slow,
    ):
        message = Packet(wire.SEND, peer=slow.id, channel=b"c", body=bytes(100_000))
        # Until the kernel takes no more for a reader that does not read.
        while not bus.hub.renderers.ids[slow.id].pausing:
            fast.write(message)
            assert await fast.is_served() or True
        pause = await within(bus_pause(bus, fast, slow))
        caplog.clear()
        if acknowledges:
            fast.write(Packet(wire.PAUSED, peer=slow.id, request=pause), message)
        else:
            fast.write(*[message] * 60)
        goodbye = await fast.next(wire.GOODBYE)
        assert goodbye.body.decode() == f"sent to renderer {slow.id} (slow) pid {os.getpid()} although it was asked to pause"
        assert len(warnings(caplog)) == 1
        assert bus.broker.stats()["overruns"] == 1
        assert slow.id in bus.hub.renderers.ids
        while (packet := await slow.read()) is not None and packet.kind != wire.GAP:
            pass
        assert await slow.is_served()


async def bus_pause(bus: Bus, source: Raw, target: Raw) -> int:
    """The serial of the pause that a source was asked for."""
    pausing = bus.hub.renderers.ids[target.id].pausing
    assert pausing is not None
    return pausing[source.id].serial


# Lanes.


async def open_lane(address: str, owner: Raw, nonce: bytes | None = None, id: int | None = None) -> tuple[Raw, Packet]:
    """Open a connection, ask for a lane of `owner`, and return both with the answer."""
    lane = Raw(*await asyncio.open_unix_connection(address.removeprefix("unix:")))
    said = {"id": owner.id if id is None else id, "nonce": owner.welcome["lane"] if nonce is None else nonce}
    lane.write(Packet(wire.LANE, body=cbor2.dumps(said)))
    answer = await lane.read()
    assert answer is not None
    return lane, answer


@pytest.mark.contract("3.5")
@pytest.mark.parametrize("wrong", ["nonce", "empty nonce", "id", "replay"])
async def test_a_lane_is_opened_with_its_own_nonce_and_once(address: str, wrong: str) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, "owner") as owner:
        nonce, id = owner.welcome["lane"], owner.id
        if wrong == "replay":
            lane, answer = await open_lane(address, owner)
            assert answer.kind == wire.LANE
            # From its first packet on the lane has shown that it knows the next nonce.
            lane.write(Packet(wire.REPEAT, value=1), Packet(wire.SYNC, request=1, channel=b"c", body=args()))
            assert (await lane.read() or Packet(0)).request == 1
            await lane.close()
        elif wrong == "id":
            id = bus.hub.renderers.names["other"].id
        else:
            nonce = b"" if wrong == "empty nonce" else bytes(len(nonce))
        lane, answer = await open_lane(address, owner, nonce, id)
        assert (answer.kind, answer.value) == (wire.REFUSED, mainbus.ConnectRefused.wire_code)
        assert answer.said == "Could not connect to this broker: no renderer of this process has that lane"
        assert await lane.rest() == []
        await lane.close()
        assert await owner.is_served()


@pytest.mark.contract("3.5")
async def test_a_lane_that_was_given_up_while_it_opened_can_be_opened_again(address: str) -> None:
    async with Bus(address), raw(address, "owner") as owner:
        for _ in range(3):
            # It closes as if it had never read the answer.
            lane, answer = await open_lane(address, owner)
            assert answer.kind == wire.LANE
            await lane.close()
        lane, answer = await open_lane(address, owner, answer.said["nonce"])
        assert answer.kind == wire.LANE
        await lane.close()


@pytest.mark.contract("3.5", "8.7")
@pytest.mark.parametrize(
    ("said", "text"),
    [
        ([Packet(99)], "unexpected packet of kind 99 while lane"),
        ([Packet(wire.REPEAT, value=1), Packet(wire.SYNC, flags=wire.CONTINUES)], "SYNC without its first"),
        ([Packet(wire.LANE)], "unexpected packet of kind LANE while lane"),
    ],
)
async def test_a_fault_on_a_lane_closes_its_renderer(
    address: str, caplog: pytest.LogCaptureFixture, said: list[Packet], text: str
) -> None:
    async with Bus(address) as bus, bystanders(bus), raw(address, "owner") as owner:
        lane, _ = await open_lane(address, owner)
        caplog.clear()
        lane.write(*said)
        goodbye = await owner.next(wire.GOODBYE)
        assert goodbye.body.decode().startswith("on its lane: ")
        assert text in goodbye.body.decode()
        assert len(warnings(caplog)) == 1
        assert await lane.rest() == []
        await lane.close()


# A broker in a process of its own.


@pytest.mark.contract("8.7")
async def test_a_daemon_survives_all_of_them(address: str) -> None:
    async with broker_process(address), mainbus.connect(address) as good:
        for said, _ in STRANGERS.values():
            async with raw(address, hello=False) as stranger:
                stranger.write(said)
                assert [packet.kind for packet in await stranger.rest()] == [wire.REFUSED]
        for makers, _ in FAULTS.values():
            async with raw(address) as renderer:
                for made in (make(77) for make in makers):
                    renderer.write(made)
        assert await good.invoke("echo", "still here") == "still here"
