"""The floors that loop and kernel set: raw bytes over Unix sockets, without framing or decisions.

L2 is two processes: a client and an echo. L3 is three: a client, a forwarder that copies bytes, an echo behind it.
L2 with a codec makes the bytes from the small dict, and the dict from the bytes, at both ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar, cast

import common
from common import Order
from mainbus.wire import clone

from peers.base import AsyncPeer, Client, Peer

SIZE: Final = 64
"""Bytes of a small message."""

# What is to be echoed begins with 0, what is only counted with something else, and it ends with a 2.
ECHOED: Final = bytes(SIZE)
COUNTED: Final = b"\1" * SIZE
LAST: Final = b"\1" * (SIZE - 1) + b"\2"


class End(asyncio.Protocol):
    """One end of a connection; knows when its transport takes no more."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._free = asyncio.Event()
        self._free.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._free.clear()

    def resume_writing(self) -> None:
        self._free.set()

    async def drain(self) -> None:
        await asyncio.sleep(0)
        await self._free.wait()


class Echo(End):
    """Sends back what comes, or counts it."""

    def __init__(self) -> None:
        super().__init__()
        self._sink = common.Sink()
        self._bytes = 0

    def data_received(self, data: bytes) -> None:
        if not data[0]:
            self.transport.write(data)
        elif data[-1] == 2:
            self._sink.add((self._bytes + len(data)) // SIZE - 1)
            self._bytes = 0
            self._sink.take(common.END)
        else:
            self._bytes += len(data)


class EchoClone(End):
    """Makes a value of what comes, and sends back its clone."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(clone.encode(clone.decode(data)))


class Raw(End, Client):
    """Counts answers by their bytes; the requests are answered in their order."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._message = ECHOED
        self._bytes = 0

    def call(self, value: object) -> asyncio.Future[None]:
        future = self._loop.create_future()
        self._waiting.append(future)
        self.transport.write(self._message)
        return future

    async def send(self, value: object, count: int) -> None:
        message = COUNTED if value else LAST
        for _ in range(count):
            self.transport.write(message)
        await self.drain()

    async def prepare(self, size: int) -> bytes:
        self._message = bytes(size)
        return self._message

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        size = len(self._message)
        while self._bytes >= size:
            self._bytes -= size
            self._waiting.popleft().set_result(None)


class Cloning(End, Client):
    """Makes a value of each answer; one request at a time."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[object] = self._loop.create_future()

    def call(self, value: object) -> asyncio.Future[object]:
        self._waiting = self._loop.create_future()
        self.transport.write(clone.encode(value))
        return self._waiting

    def data_received(self, data: bytes) -> None:
        self._waiting.set_result(clone.decode(data))


class Forward(End):
    """Copies bytes between the first connection and the second; a slow reader slows its writer."""

    ends: list[Forward] = []  # noqa: RUF012 - one forwarder a process

    def __init__(self) -> None:
        super().__init__()
        self.ends.append(self)

    @property
    def other(self) -> Forward:
        return self.ends[self.ends[0] is self]

    def data_received(self, data: bytes) -> None:
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()


_Connected = TypeVar("_Connected", bound=End)


async def _connect(factory: Callable[[], _Connected], path: str) -> _Connected:
    return (await asyncio.get_running_loop().create_unix_connection(factory, path))[1]


async def _serve(factory: Callable[[], End], order: Order) -> None:
    # uvloop closes a server that nobody holds.
    server = await asyncio.get_running_loop().create_unix_server(factory, order.path, backlog=1024)
    common.ready()
    await server.serve_forever()


class L2(AsyncPeer):
    name = "L2"
    title = "L2: raw echo, 2 processes"
    servers: ClassVar[tuple[str, ...]] = ("answer",)
    workloads = frozenset({"latency", "in-flight", "one-way", "payload", "connect"})
    rival = False

    async def connect(self, order: Order) -> Client:
        client = await _connect(Raw, order.path)
        if order.role == "idle":
            # The other end has accepted it, too.
            await client.call(None)
        return client

    async def _answer(self, order: Order) -> None:
        await _serve(Echo, order)


class L2Codec(L2):
    name = "L2-codec"
    title = "L2 with the codec at both ends"
    workloads = frozenset({"latency"})

    async def connect(self, order: Order) -> Client:
        return await _connect(Cloning, order.path)

    async def _answer(self, order: Order) -> None:
        await _serve(EchoClone, order)


class L3(L2):
    name = "L3"
    title = "L3: raw echo behind a forwarder, 3 processes"
    servers = ("broker", "answer")
    workloads = frozenset({"latency", "in-flight", "one-way", "payload"})

    def broker(self, order: Order) -> Any:
        return _serve(Forward, order)

    async def _answer(self, order: Order) -> None:
        await _connect(Echo, order.path)
        common.ready()
        await common.forever()


PEERS: Final[dict[str, Peer]] = {peer.name: peer for peer in (L2(), L2Codec(), L3())}
