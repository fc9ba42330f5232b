"""The two ends of the socket of a direct port in one process, without a broker; or one, and packets built by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from mainbus import MessageChannel
from mainbus.direct_link import DirectLink
from mainbus.port_remote import Remote
from mainbus.ports import MessagePort
from mainbus.wire import clone

from tests.support.bus import until
from tests.support.port_records import Records

LIMIT = 1 << 20


class Side:
    """A port whose other end is at a connection that there is none of, and its socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.records = Records()
        channel = MessageChannel()
        way = self.records.leave(channel.port2)
        assert way is not None
        way.open()
        self.records.take()
        self.port: MessagePort = channel.port1
        self.remote: Remote = way
        self.got: list[Any] = []
        self.closes = 0
        self.is_gone = False
        self.sock = sock
        self.link = DirectLink(sock, LIMIT, self._gone)

    async def connect(self) -> None:
        await asyncio.get_running_loop().create_unix_connection(lambda: self.link, sock=self.sock)
        self.remote.switch(self.link)

    def open(self) -> None:
        """Note that the other side has switched."""
        self.link.open()
        self.remote.go_on()

    def take(self) -> None:
        """Take messages from now on."""
        self.port.on("message", lambda event: self.got.append(event.data))
        self.port.on("close", self._closed)
        self.port.start()

    def relayed(self, value: object) -> None:
        """Let a message come by the relay."""
        self.records.message(self.remote.number, (), clone.encode(value))

    @property
    def said(self) -> list[object]:
        """What was posted by the relay."""
        return [sent[2] for sent in self.records.take() if sent[0] == "message"]

    def _closed(self) -> None:
        self.closes += 1

    def _gone(self, link: DirectLink) -> None:
        self.is_gone = True


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[Side, Side]]:
    """Two ports with one socket between them; neither has switched."""
    a, b = (Side(sock) for sock in socket.socketpair())
    for side in (a, b):
        await side.connect()
    try:
        yield a, b
    finally:
        for side in (a, b):
            side.port.close()
            side.link.abort()
        await until(lambda: a.is_gone and b.is_gone)


@asynccontextmanager
async def direct() -> AsyncIterator[tuple[Side, Side]]:
    """The same, and both have."""
    async with pair() as (a, b):
        a.open()
        b.open()
        yield a, b


@asynccontextmanager
async def bare() -> AsyncIterator[tuple[Side, socket.socket]]:
    """One port that has switched, and the other end of its socket, for packets built by hand."""
    one, two = socket.socketpair()
    side = Side(one)
    await side.connect()
    side.open()
    side.take()
    with two:
        try:
            yield side, two
        finally:
            side.port.close()
            side.link.abort()
            await until(lambda: side.is_gone)
