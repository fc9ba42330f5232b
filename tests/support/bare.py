"""Bare connections to an address and bare servers at one, without a word of ours: sockets, or pipes on Windows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Protocol

from mainbus.address import parse

if sys.platform == "win32":
    from mainbus_broker.listeners.pipe import listen

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Accept = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]


class Server(Protocol):
    """What serves at an address."""

    def close(self) -> None:
        """Accept nothing any more."""


async def connect(address: str) -> Streams:
    """Return a reader and a writer of a new connection."""
    if sys.platform == "win32":
        loop = asyncio.get_running_loop()
        assert isinstance(loop, asyncio.ProactorEventLoop)
        reader = asyncio.StreamReader()
        path = rf"\\.\pipe\{parse(address).path}"
        transport, protocol = await loop.create_pipe_connection(lambda: asyncio.StreamReaderProtocol(reader), path)
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
    else:
        return await asyncio.open_unix_connection(parse(address).path)


async def serve(address: str, accept: Accept) -> Server:
    """Call `accept` with reader and writer of each connection."""
    return await serve_protocol(address, lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader(), accept))


async def serve_protocol(address: str, factory: Callable[[], asyncio.Protocol]) -> Server:
    """Give each connection a protocol of its own."""
    if sys.platform == "win32":
        return await listen(parse(address), factory)
    else:
        return await asyncio.get_running_loop().create_unix_server(factory, parse(address).path)
