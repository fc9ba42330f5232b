"""What a peer may write that no client of ours would: a fault is named, closed, logged once; others notice nothing."""

import asyncio
import os
import random
from collections.abc import Callable
from functools import partial
from typing import Any

import cbor2
import mainbus
import pytest
from mainbus_broker import Config, IpcMain
from mainbus_broker.config import Limits

from tests.support import raw as wire
from tests.support.bus import Bus, until
from tests.support.bystanders import bystanders, warnings
from tests.support.raw import Packet, args, raw
from tests.support.renderers import broker_process

REFUSED_BY_NAME = 22
"""The code of a RemoteProtocolError."""

SMALL = Limits(message=300_000)


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
    "unknown flags": (packet(wire.HELLO, flags=0xC0), "unknown flags 0xc0"),
    "in fragments": (packet(wire.HELLO, flags=wire.MORE), "packet of kind HELLO in fragments"),
    "a name that is no text": (packet(wire.HELLO, name=b"\xff"), "name or channel is not UTF-8"),
    "too long": (packet(wire.HELLO, body=bytes(wire.FRAGMENT + 1)), f"packet of {wire.FRAGMENT + 25} bytes"),
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


@pytest.mark.contract("8.6", "8.7")
@pytest.mark.parametrize(
    "said", [b"", packet(wire.HELLO, body=cbor2.dumps(HELLO))[:-1]], ids=["nothing", "half a hello"]
)
async def test_who_says_no_whole_hello_is_refused_in_time(address: str, said: bytes) -> None:
    async with Bus(address) as bus, bystanders(bus):
        # From here on, so that on a busy machine the others are not late too.
        bus.hub.config = Config(limits=Limits(handshake_timeout=0.05))
        async with raw(address, hello=False) as stranger:
            stranger.write(said)
            [refused] = await stranger.rest()
            assert refused.kind == wire.REFUSED
            assert refused.said.endswith("no hello in 0.05 s")
            assert bus.broker.stats()["refused"] == 1
            await until(lambda: not bus.hub.entering)


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
            Packet(wire.HELLO, body=cbor2.dumps(HELLO)),
            Packet(wire.INVOKE, request=7, channel=b"bus:ping", body=args()),
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


C: dict[str, Any] = {"channel": b"c"}

TOO_LARGE_FOR_ALL: list[Callable[[int], Packet | bytes]] = [to_main(wire.BROADCAST, body=bytes(300_001), **C)]

FAULTS: dict[str, tuple[list[Callable[[int], Packet | bytes]], str]] = {
    "an unknown kind": ([to_main(99)], "unexpected packet of kind 99 while open"),
    "a second hello": ([to_main(wire.HELLO, body=cbor2.dumps(HELLO))], "unexpected packet of kind HELLO while open"),
    "what only the broker says": ([to_main(wire.JOINED, peer=2)], "unexpected packet of kind JOINED while open"),
    "a repeat without a lane": ([to_main(wire.REPEAT)], "unexpected packet of kind REPEAT while open"),
    "unknown flags": ([to_main(flags=64, **C)], "unknown flags 0x40"),
    "free of credit": ([to_main(flags=16, **C)], "packet of kind SEND that is free of credit"),
    "a cancel in fragments": ([to_main(wire.CANCEL, flags=wire.MORE)], "packet of kind CANCEL in fragments"),
    "no channel": ([to_main()], "packet of kind SEND without a channel"),
    "a channel that is no text": ([to_main(channel=b"\xc3\x28")], "name or channel is not UTF-8"),
    "a name that is no text": ([to_main(name=b"\xff\xfe", **C)], "name or channel is not UTF-8"),
    "a text cut in two": ([to_main(name=b"\xc3", channel=b"\xa4")], "name or channel is not UTF-8"),
    "shorter than its texts": ([lambda target: resized(packet(wire.SEND, **C), 24)], "packet of 24 bytes, with a name"),
    "longer than a packet": ([to_main(body=bytes(wire.FRAGMENT + 1), **C)], f"packet of {wire.FRAGMENT + 26} bytes"),
    "longer than a packet, to another": (
        # Shorter than the longest packet: with another name before it would not be, and its receiver would complain.
        [to_other(body=bytes(wire.FRAGMENT + 509), **C)],
        f"packet of {wire.FRAGMENT + 534} bytes",
    ),
    "garbage": ([lambda target: random.Random(5).randbytes(1000)], "packet of"),
    "an invoke twice, to main": (
        [to_main(wire.INVOKE, request=5, channel=b"wait", body=args())] * 2,
        "request 5 is pending already",
    ),
    "an invoke twice, to another": ([to_other(wire.INVOKE, request=5, **C)] * 2, "request 5 is pending already"),
    "too large, to main": (
        [to_main(body=bytes(300_001), **C)],
        "A message of 300001 bytes exceeds the limit of 300000",
    ),
    "too large, to another": ([to_other(body=bytes(300_001), **C)], "exceeds the limit of 300000"),
    "too large, to all": (TOO_LARGE_FOR_ALL, "exceeds the limit of 300000"),
}
WHERE: dict[str, Callable[..., Callable[[int], Packet]]] = {
    "main": to_main,
    "another": to_other,
    "a name": partial(to_main, name=b"target"),
}
for label, where in WHERE.items():
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


# A broker in a process of its own.


@pytest.mark.contract("8.7")
async def test_a_daemon_survives_them(address: str) -> None:
    # Some of each: a process that breaks many connections is made to wait before its next one is served.
    async with broker_process(address), mainbus.connect(address) as good:
        for said, _ in list(STRANGERS.values())[::6]:
            async with raw(address, hello=False) as stranger:
                stranger.write(said)
                assert [packet.kind for packet in await stranger.rest()] == [wire.REFUSED]
        for makers, _ in list(FAULTS.values())[::8]:
            async with raw(address) as renderer:
                for made in (make(77) for make in makers):
                    renderer.write(made)
        assert await good.invoke("echo", "still here") == "still here"
