"""A renderer's connection for descriptors: what it takes from a broker, and that nothing is left open on any way."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mainbus.address import parse
from mainbus.descriptors import Descriptors
from mainbus.errors import ConnectionLost
from mainbus.wire.messages import LaneHello
from mainbus.wire.packets import Kind, build

from tests.support.bus import until, within

pytestmark = pytest.mark.contract("7.6")

HELLO = LaneHello(id=1, nonce=b"key", descriptors=True)


class End:
    """The broker's end, and what the renderer's has told."""

    def __init__(self, address: str) -> None:
        self.sock: socket.socket
        self.took: list[tuple[int, int, int, int, int | None]] = []
        self.losses = 0
        self._address = parse(address)
        self.lane = Descriptors(self._take, self._lost)

    def _take(self, *record: Any) -> bool:
        self.took.append(record)
        return bool(record[0] == Kind.PORT_DIRECT)

    def _lost(self) -> None:
        self.losses += 1

    async def serve(self, listener: socket.socket, answer: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.sock, _ = await loop.sock_accept(listener)
        self.sock.setblocking(False)
        assert b"descriptors" in await loop.sock_recv(self.sock, 1000)
        self.sock.send(answer)

    async def open(self) -> None:
        await within(self.lane.open(self._address, HELLO))


@pytest.fixture
def file() -> Iterator[int]:
    """A descriptor to send."""
    with open(os.devnull) as null:
        yield null.fileno()


@asynccontextmanager
async def broker(address: str, answer: bytes = build(Kind.LANE)) -> AsyncIterator[End]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.setblocking(False)
        listener.bind(address.removeprefix("unix:"))
        listener.listen()
        end = End(address)
        serving = asyncio.ensure_future(end.serve(listener, answer))
        try:
            yield end
        finally:
            end.lane.close()
            await serving
            end.sock.close()
            for record in end.took:
                if record[0] == Kind.PORT_DIRECT and record[4] is not None:
                    os.close(record[4])


async def test_a_record_is_a_port_a_serial_and_a_descriptor(address: str, file: int) -> None:
    async with broker(address) as end:
        await end.open()
        socket.send_fds(end.sock, [build(Kind.PORT_DIRECT, 2, 7)], [file])
        socket.send_fds(end.sock, [build(Kind.PORT_DIRECT, 4, 8)], [file])
        end.sock.send(build(Kind.PORT_DIRECT, 6, 9))
        await until(lambda: len(end.took) == 3)
        assert [record[1:3] for record in end.took] == [(2, 7), (4, 8), (6, 9)]
        first = end.took[0][4]
        assert first is not None
        assert os.path.sameopenfile(first, file)
        assert not os.get_inheritable(first)
        assert end.took[2][4] is None


async def test_a_record_may_come_in_pieces(address: str, file: int) -> None:
    async with broker(address) as end:
        await end.open()
        packet = build(Kind.PORT_DIRECT, 2, 7)
        socket.send_fds(end.sock, [packet[:5]], [file])
        await asyncio.sleep(0)
        end.sock.send(packet[5:])
        await until(lambda: end.took)
        assert end.took[0][4] is not None


async def test_what_is_not_taken_is_closed(address: str, file: int) -> None:
    async with broker(address) as end:
        await end.open()
        socket.send_fds(end.sock, [build(Kind.PORT_DIRECT, 2, 7)[:5]], [file])
        # The fixture of all tests sees that it is closed.
        await until(lambda: end.lane._fd is not None)


async def test_its_end_is_told_once(address: str) -> None:
    async with broker(address) as end:
        await end.open()
        end.sock.shutdown(socket.SHUT_RDWR)
        await until(lambda: end.losses)
        end.lane.close()
        assert end.losses == 1


@pytest.mark.parametrize("answer", [build(Kind.REFUSED), build(Kind.PORT_DIRECT, 2, 7)])
async def test_a_broker_that_says_no_is_an_error(address: str, answer: bytes) -> None:
    async with broker(address, answer) as end:
        with pytest.raises(ConnectionLost, match="refused"):
            await end.open()
        assert end.losses == 0


async def test_another_packet_ends_it(address: str, file: int) -> None:
    async with broker(address) as end:
        await end.open()
        socket.send_fds(end.sock, [build(Kind.PORT_CLOSE, 2)], [file])
        await until(lambda: end.losses)
        assert len(end.took) == 1


async def test_cancelling_closes_it(address: str) -> None:
    async with broker(address, b"") as end:
        task = asyncio.ensure_future(end.open())
        await until(lambda: hasattr(end, "sock"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
