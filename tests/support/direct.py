"""Direct ports for tests that build packets by hand: a connection for descriptors, a channel between two renderers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple, Self

import cbor2
from mainbus_broker import Config
from mainbus_broker.config import Limits

from tests.support.bus import PATIENCE, Bus
from tests.support.raw import LANE, PORT_CLOSE, PORT_DIRECT, PORT_MOVED, PORT_SWITCH, POST, Packet, Raw, args, raw

FEATURES = ["fragments", "lane", "direct"]
AT_ONCE = Config(limits=Limits(direct_after=1))
"""Ports become direct with their first message."""

_HEADER = 24


class Descriptors:
    """A bare connection for descriptors; an async context manager, which connects.

    Args:
        address: Where the broker listens.
        renderer: Whose connection it is.
        key: What to show instead of the right key.
    """

    def __init__(self, address: str, renderer: Raw, key: bytes | None = None) -> None:
        self._path = address.removeprefix("unix:")
        said = {"id": renderer.id, "nonce": key or renderer.welcome["descriptors"], "descriptors": True}
        self._hello = Packet(LANE, body=cbor2.dumps(said)).encode()
        self._loop = asyncio.get_running_loop()
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.setblocking(False)

    async def __aenter__(self) -> Self:
        self.sock.connect(self._path)
        await self._loop.sock_sendall(self.sock, self._hello)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sock.close()

    async def record(self) -> tuple[int, int, int, socket.socket | None] | None:
        """Return kind, port, serial and socket of what comes next; None at the end."""
        data = b""
        found: socket.socket | None = None
        async with asyncio.timeout(PATIENCE):
            while len(data) < _HEADER:
                try:
                    piece, fds, _, _ = socket.recv_fds(self.sock, _HEADER - len(data), 1)
                except BlockingIOError:
                    await asyncio.sleep(0)
                    continue
                if not piece:
                    return None
                data += piece
                if fds:
                    found = socket.socket(fileno=fds[0])
                    found.setblocking(False)
        number, serial = (int.from_bytes(data[at : at + 4]) for at in (8, 12))
        return data[4], number, serial, found


class Side(NamedTuple):
    """A renderer with one end of a channel."""

    raw: Raw
    port: int
    lane: Descriptors

    def ask(self) -> None:
        """Ask for a socket."""
        self.raw.write(Packet(PORT_DIRECT, peer=self.port))

    async def given(self) -> tuple[int, socket.socket]:
        """Return the serial and the end of the socket that it gets."""
        record = await self.lane.record()
        assert record is not None
        kind, port, serial, sock = record
        assert (kind, port) == (PORT_DIRECT, self.port)
        assert sock is not None
        return serial, sock

    def switch(self, serial: int) -> None:
        """Say that nothing more is sent to the broker."""
        self.raw.write(Packet(PORT_SWITCH, peer=self.port, request=serial))

    async def switched(self) -> tuple[int, int]:
        """Return serial and value of the answer."""
        packet = await self.raw.next(PORT_SWITCH)
        assert packet.peer == self.port
        return packet.request, packet.value


@asynccontextmanager
async def sides(
    address: str, *, config: Config = AT_ONCE, lanes: bool = True, **fields: Any
) -> AsyncIterator[tuple[Bus, Side, Side]]:
    """Run a broker and two renderers with a settled channel between them."""
    async with AsyncExitStack() as stack:
        bus = await stack.enter_async_context(Bus(address, config=config))
        bus.ipc_main.on("to", lambda event, _: _pass_on(bus, event))
        a, b = [await stack.enter_async_context(raw(address, name, features=FEATURES, **fields)) for name in "ab"]
        opened = [Descriptors(address, each) for each in (a, b)]
        for each in opened:
            if lanes:
                await stack.enter_async_context(each)
                assert await each.record() == (LANE, 0, 0, None)
            else:
                each.sock.close()
        a.write(Packet(POST, value=1, channel=b"to", body=bytes((0, 0, 0, 1, 0, 0, 0, 3)) + args("b")))
        await a.next(PORT_MOVED)
        a.write(Packet(PORT_CLOSE, peer=1))
        arrived = await b.next(POST)
        assert await a.is_served()
        yield bus, Side(a, 3, opened[0]), Side(b, int.from_bytes(arrived.body[:4]), opened[1])


def _pass_on(bus: Bus, event: Any) -> None:
    contents = bus.broker.web_contents.from_name("b")
    assert contents is not None
    contents.post_message("port", None, event.ports)
