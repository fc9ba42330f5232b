"""Peers that break every rule on the raw wire, again and again.

Run as a program: address, folder of ledgers, incarnation, number of renderers, seed, loop. What they do hurts nobody
but them.
"""

from __future__ import annotations

import asyncio
import random
import struct
import sys
from collections.abc import Awaitable, Callable

import cbor2

from tests.chaos.flow import commands, ledger_of, run, say
from tests.chaos.ledger import Ledger
from tests.support import raw as wire
from tests.support.raw import Packet, Raw, args

TOGETHER = 4
"""Attacks at a time."""

Attack = Callable[..., Awaitable[None]]


async def half_packet(client: Raw, dice: random.Random) -> None:
    packet = Packet(wire.SEND, channel=b"flow", body=args(bytes(1000))).encode()
    client.write(packet[: dice.randrange(1, len(packet))])


async def garbage(client: Raw, dice: random.Random) -> None:
    client.write(dice.randbytes(dice.randrange(1, 5000)))
    await client.rest()


async def oversized_packet(client: Raw, dice: random.Random) -> None:
    client.write(struct.pack(">IBBBBIIII", dice.choice((1 << 31, 0xFFFF_FFFF, 131_073 + 24, 3)), wire.SEND, *[0] * 7))
    await client.rest()


async def oversized_message(client: Raw, dice: random.Random) -> None:
    """More fragments than a message may have."""
    part = Packet(wire.SEND, flags=wire.MORE, channel=b"flow", body=bytes(131_072))
    client.write(part)
    for _ in range(20):
        client.write(part._replace(flags=wire.MORE | wire.CONTINUES, channel=b""))
    await client.rest()


async def deep_body(client: Raw, dice: random.Random) -> None:
    deep = b"\x81" * dice.choice((513, 5_000, 100_000)) + b"\x80"
    client.write(
        Packet(wire.INVOKE, request=1, channel=b"flow", body=deep), Packet(wire.SEND, channel=b"flow", body=deep)
    )
    await client.rest()


async def bad_body_to_a_renderer(client: Raw, dice: random.Random) -> None:
    bad = dice.choice((b"", b"\xff", b"\x81" * 1000 + b"\x80", dice.randbytes(50)))
    name = f"r{dice.randrange(8)}".encode()
    client.write(Packet(wire.SEND, wire.BY_NAME, name=name, channel=b"flow", body=bad))
    client.write(Packet(wire.INVOKE, wire.BY_NAME, request=1, name=name, channel=b"flow", body=bad))
    await client.rest()


async def ports_without_end(client: Raw, dice: random.Random) -> None:
    for number in range(1, 30_000, 4):
        table = struct.pack(">II", number, number + 2)
        client.write(Packet(wire.POST, value=1, channel=b"nobody", body=table + args(0)))
    await client.rest()


async def never_reads(client: Raw, dice: random.Random) -> None:
    for number in range(1, 200):
        client.write(*[Packet(wire.QUERY, request=number * 100 + at, channel=b"status") for at in range(100)])
        async with asyncio.timeout(0.2):
            await client.writer.drain()


async def unfinished_messages(client: Raw, dice: random.Random) -> None:
    part = Packet(wire.SEND, wire.MORE | wire.BY_NAME, channel=b"flow", body=bytes(dice.randrange(100_000)))
    for number in range(8):
        client.write(part._replace(name=f"r{number}".encode()))
    for number in range(1, client.id):
        client.write(part._replace(flags=wire.MORE, peer=number, body=b""))
    await asyncio.sleep(dice.random() / 10)


async def answers_nobody_asked(client: Raw, dice: random.Random) -> None:
    for kind in (wire.RESULT, wire.ERROR, wire.ITEM, wire.DEMAND, wire.CANCEL, wire.PAUSED, wire.BAD_MESSAGE):
        client.write(*[Packet(kind, peer=dice.randrange(300), request=number, value=1) for number in range(100)])
    client.write(Packet(wire.PORT_MESSAGE, peer=dice.choice((0, 7, 8)), body=args(0)))
    await client.rest()


async def too_many_requests(client: Raw, dice: random.Random) -> None:
    ask = Packet(wire.INVOKE, channel=b"slow", body=args("x", 1, b"\x01"))
    client.write(*[ask._replace(request=number, channel=b"nobody") for number in range(1, 5000)])
    await asyncio.sleep(dice.random() / 5)


async def streams_without_demand(client: Raw, dice: random.Random) -> None:
    ask = Packet(wire.STREAM, channel=b"count", body=args(1_000_000, 1000))
    client.write(*[ask._replace(request=number) for number in range(1, dice.choice((20, 1100)))])
    await asyncio.sleep(dice.random() / 5)
    client.write(Packet(wire.DEMAND, request=1, value=dice.choice((1, 1 << 31))))


async def pauses_everybody(client: Raw, dice: random.Random) -> None:
    for peer in range(50):
        client.write(Packet(wire.PAUSE, peer=peer), Packet(wire.RESUME, peer=peer), Packet(wire.PAUSE, peer=peer))
    await asyncio.sleep(dice.random() / 10)


async def wrong_state(client: Raw, dice: random.Random) -> None:
    client.write(Packet(dice.choice((wire.HELLO, wire.WELCOME, wire.LANE, wire.REPEAT, wire.GAP, wire.CREDIT, 99))))
    await client.rest()


AFTER_HELLO: list[Attack] = [
    half_packet,
    garbage,
    oversized_packet,
    oversized_message,
    deep_body,
    bad_body_to_a_renderer,
    ports_without_end,
    never_reads,
    unfinished_messages,
    answers_nobody_asked,
    too_many_requests,
    streams_without_demand,
    pauses_everybody,
    wrong_state,
]


async def storm(address: str, dice: random.Random) -> None:
    """Connect and go, many at a time, some in the middle of the hello, some of which say nothing."""
    clients = [Raw(*await asyncio.open_unix_connection(address)) for _ in range(30)]
    hello = Packet(wire.HELLO, body=cbor2.dumps({"version": 1})).encode()
    for client in clients:
        client.write(hello[: dice.choice((0, 10, len(hello)))])
    await asyncio.sleep(dice.random() / 10)
    for client in clients:
        client.writer.transport.abort()


async def no_hello(address: str, dice: random.Random) -> None:
    """Begin with something else, or a hello that is none."""
    client = Raw(*await asyncio.open_unix_connection(address))
    try:
        body = dice.choice(
            (cbor2.dumps({"version": 2}), b"\xff", cbor2.dumps({"version": 1, "name": 5}), b"\x81" * 300)
        )
        client.write(Packet(dice.choice((wire.HELLO, wire.SEND, wire.LANE)), channel=b"flow", body=body))
        await client.rest()
    finally:
        client.writer.transport.abort()


BEFORE_HELLO: list[Attack] = [storm, no_hello]


async def attack(address: str, dice: random.Random, ledger: Ledger) -> None:
    """Make one attack, whatever comes of it: the broker may be dead, frozen or faster."""
    kind, with_hello = dice.choice(BEFORE_HELLO), dice.choice(AFTER_HELLO)
    says_hello = dice.random() < 0.9
    ledger.note("fault", (with_hello if says_hello else kind).__name__)
    client = None
    try:
        async with asyncio.timeout(3.0):
            if says_hello:
                client = Raw(*await asyncio.open_unix_connection(address))
                await client.hello()
                await with_hello(client, dice)
            else:
                await kind(address, dice)
    except (OSError, TimeoutError, AssertionError):
        await asyncio.sleep(0.1)
    finally:
        if client is not None:
            client.writer.transport.abort()


async def main() -> None:
    """Attack until killed, or standard input ends."""
    address, folder, incarnation, seed = sys.argv[1:5]
    ledger = ledger_of(folder, f"hostile.{incarnation}")
    say("ready")

    async def attacks(number: int) -> None:
        dice = random.Random(f"{seed} {ledger.who} {number}")
        while True:
            await attack(address.removeprefix("unix:"), dice, ledger)
            await asyncio.sleep(dice.expovariate(1 / 0.1))

    running = [asyncio.create_task(attacks(number)) for number in range(TOGETHER)]
    async for _ in commands():
        pass
    # The runner is gone.
    for task in running:
        task.cancel()


if __name__ == "__main__":
    run(main, sys.argv[5])
