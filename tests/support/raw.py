"""A renderer of hand-built packets on a bare socket: it can say what no client of ours would.

It shares nothing with the wire core, so that both must agree with docs/reference/protocol.md.
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import cbor2

from tests.support import bare

PATIENCE = 10.0 if sys.platform != "win32" else 60.0
"""Seconds after which a wait has failed; a passing test never gets near."""

HELLO, WELCOME, REFUSED, GOODBYE, READY, LANE, REPEAT, ONCE = range(1, 9)
SEND, POST, SYNC, INVOKE, BROADCAST, QUERY, STREAM = range(16, 23)
RESULT, ERROR, CANCEL, ITEM, DEMAND = range(24, 29)
PAUSE, PAUSED, RESUME, CREDIT, WHO = range(32, 37)
PORT_MESSAGE, PORT_CREDIT, PORT_CLOSE, PORT_MOVED, PORT_DIRECT, PORT_SWITCH = range(40, 46)
UNDELIVERABLE, GAP, ABORT, BAD_MESSAGE, WATCH, JOINED, LEFT = range(48, 55)
FRAME, FRAME_CLOSED, GUEST, GUEST_CLOSED, HOST = range(55, 60)
MORE, CONTINUES, BY_NAME, TO_HOST, FREE = 1, 2, 4, 8, 16

FRAGMENT = 132 * 1024

_HEADER = struct.Struct(">IBBBBIIII")


class Packet(NamedTuple):
    """One packet, in parts."""

    kind: int
    flags: int = 0
    peer: int = 0
    request: int = 0
    frame: int = 0
    value: int = 0
    name: bytes = b""
    channel: bytes = b""
    body: bytes = b""

    def encode(self) -> bytes:
        """Return it as it is on the wire."""
        length = _HEADER.size + len(self.name) + len(self.channel) + len(self.body)
        lengths = (len(self.name), len(self.channel))
        head = _HEADER.pack(length, self.kind, self.flags, *lengths, self.peer, self.request, self.frame, self.value)
        return head + self.name + self.channel + self.body

    @property
    def said(self) -> Any:
        """What the body says."""
        return cbor2.loads(self.body)


def fragments(packet: Packet, size: int = FRAGMENT) -> list[Packet]:
    """Return a message in packets with `size` bytes of the body each."""
    bodies = [packet.body[start : start + size] for start in range(0, len(packet.body), size)]
    parts = []
    for number, body in enumerate(bodies):
        more = MORE if number < len(bodies) - 1 else 0
        if number:
            first = packet._replace(channel=b"", value=0, flags=packet.flags | CONTINUES | more, body=body)
        else:
            first = packet._replace(flags=packet.flags | more, body=body)
        parts.append(first)
    return parts


class Raw:
    """One connection. Made by `raw`.

    Attributes:
        welcome: What the broker has said to the hello.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.welcome: dict[str, Any] = {}
        self.reader = reader
        self.writer = writer

    @property
    def id(self) -> int:
        """The renderer's id."""
        found: int = self.welcome["id"]
        return found

    def write(self, *packets: Packet | bytes) -> None:
        """Send packets, or bytes that are none, in one piece."""
        self.writer.write(b"".join(packet if isinstance(packet, bytes) else packet.encode() for packet in packets))

    async def hello(self, name: str | None = None, **fields: Any) -> Packet:
        """Say hello and return the answer."""
        said = {"version": 1, "features": ["fragments", "lane"], **fields}
        if name is not None:
            said["name"] = name
        self.write(Packet(HELLO, body=cbor2.dumps(said)))
        answer = await self.read()
        assert answer is not None
        if answer.kind == WELCOME:
            self.welcome = answer.said
        return answer

    async def read(self) -> Packet | None:
        """Return the next packet, or None at the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                head = await self.reader.readexactly(_HEADER.size)
                length, kind, flags, name, channel, peer, request, frame, value = _HEADER.unpack(head)
                rest = await self.reader.readexactly(length - _HEADER.size)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None
        body = name + channel
        return Packet(kind, flags, peer, request, frame, value, rest[:name], rest[name:body], rest[body:])

    async def next(self, *kinds: int) -> Packet:
        """Return the next packet of one of these kinds; others before it are passed over."""
        while True:
            packet = await self.read()
            assert packet is not None, f"the connection has ended without a packet of kind {kinds}"
            if packet.kind in kinds:
                return packet

    async def message(self, *kinds: int) -> Packet:
        """Return the next message of one of these kinds, its fragments put together."""
        packet = await self.next(*kinds)
        bodies = [packet.body]
        part = packet
        while part.flags & MORE:
            part = await self.next(packet.kind)
            assert part.flags & CONTINUES
            bodies.append(part.body)
        return packet._replace(flags=packet.flags & ~MORE, body=b"".join(bodies))

    async def rest(self) -> list[Packet]:
        """Return what comes until the broker closes the connection."""
        packets = []
        while (packet := await self.read()) is not None:
            packets.append(packet)
            if packet.kind == GOODBYE and sys.platform == "win32":
                # A pipe cannot be closed in one direction: the broker gives its renderer a second to do it.
                self.writer.close()
        return packets

    async def is_served(self) -> bool:
        """Tell whether the broker still serves this renderer, and everything that it has sent so far."""
        self.write(Packet(QUERY, request=0xFFFF_FFFF, channel=b"peers"))
        while (packet := await self.read()) is not None:
            if packet.kind == RESULT and packet.request == 0xFFFF_FFFF:
                return True
        return False

    async def close(self) -> None:
        """Close the connection, without a word."""
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except ConnectionError:
            pass  # the broker was faster


@asynccontextmanager
async def raw(address: str, name: str | None = None, *, hello: bool = True, **fields: Any) -> AsyncIterator[Raw]:
    """Connect, say hello unless told otherwise, and close at the end."""
    client = Raw(*await bare.connect(address))
    try:
        if hello:
            answer = await client.hello(name, **fields)
            assert answer.kind == WELCOME, answer
        yield client
    finally:
        await client.close()


def args(*values: object) -> bytes:
    """Return the body of a message."""
    return cbor2.dumps(list(values))
