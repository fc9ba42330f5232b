"""The floors that loop and kernel set: 64 raw bytes over Unix sockets, without framing, codec or decisions.

L2 is two processes: a client and an echo. L3 is three: a client, a forwarder that copies bytes, an echo behind it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import cast

import common
from processes import Subject

L2 = Subject("L2: raw echo, 2 processes", __file__, servers=("echo",))
L3 = Subject("L3: raw echo behind a forwarder, 3 processes", __file__, servers=("forward", "answer"))
L3_ONE_WAY = Subject("L3: raw bytes through a forwarder, 3 processes", __file__, servers=("forward", "sink"))


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

    async def flush(self) -> None:
        await asyncio.sleep(0)
        await self._free.wait()


class Echo(End):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Client(End):
    """Counts answers by their bytes; the requests are answered in their order."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._bytes = 0

    def call(self) -> asyncio.Future[None]:
        future = self._loop.create_future()
        self._waiting.append(future)
        self.transport.write(common.RAW)
        return future

    def send(self) -> None:
        self.transport.write(common.RAW)

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)
        while self._bytes >= len(common.RAW):
            self._bytes -= len(common.RAW)
            self._waiting.popleft().set_result(None)


class Counter(End):
    def __init__(self) -> None:
        super().__init__()
        self._sink = common.Sink()
        self._bytes = 0

    def data_received(self, data: bytes) -> None:
        self._bytes += len(data)

    def eof_received(self) -> bool:
        self._sink.count = self._bytes // len(common.RAW)
        self._sink.end()
        return True


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

    def eof_received(self) -> bool:
        self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        self.other.transport.resume_reading()


async def echo(order: common.Order) -> None:
    await asyncio.get_running_loop().create_unix_server(Echo, order.path)
    common.ready()
    await common.forever()


async def forward(order: common.Order) -> None:
    await asyncio.get_running_loop().create_unix_server(Forward, order.path)
    common.ready()
    await common.forever()


async def answer(order: common.Order) -> None:
    await asyncio.get_running_loop().create_unix_connection(Echo, order.path)
    common.ready()
    await common.forever()


async def sink(order: common.Order) -> None:
    await asyncio.get_running_loop().create_unix_connection(Counter, order.path)
    common.ready()
    await common.forever()


async def drive(order: common.Order) -> None:
    _, client = await asyncio.get_running_loop().create_unix_connection(Client, order.path)
    await common.drive(order, client.call, client.send, client.flush)
    if order.workload == "one-way":
        client.transport.write_eof()
        await common.forever()


if __name__ == "__main__":
    common.main({"echo": echo, "forward": forward, "answer": answer, "sink": sink, "drive": drive})
