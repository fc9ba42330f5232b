"""Named pipes: a transport of the loop, and a connection without one."""

import _winapi
import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mainbus import windows
from mainbus.address import parse
from mainbus.transports import pipe
from mainbus.transports.pipe import PipeEndpoint, connect, connect_blocking

from tests.support import bare
from tests.support.bus import Program, until, within

SIZES = [1, 65_535, 65_536, 1 << 20, 16 << 20]


class Client(asyncio.Protocol):
    """Collects what it gets."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@asynccontextmanager
async def echoing(address: str) -> AsyncIterator[list[int]]:
    """A server that sends back what it gets; yields the sizes of what came."""
    sizes: list[int] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 20):
                sizes.append(len(data))
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()

    server = await bare.serve(address, echo)
    try:
        yield sizes
    finally:
        server.close()


@pytest.mark.parametrize("size", SIZES)
async def test_what_is_written_comes_back(address: str, size: int) -> None:
    async with echoing(address):
        transport, client = await connect(parse(address), Client)
        transport.write(b"x" * size)
        await until(lambda: len(client.received) == size)
        transport.close()
        assert await within(client.lost) is None


async def test_nobody_listens(address: str) -> None:
    with pytest.raises(FileNotFoundError):
        await connect(parse(address), Client)
    with pytest.raises(FileNotFoundError):
        connect_blocking(parse(address), 1.0)


def test_another_loop_will_not_do(address: str) -> None:
    loop = asyncio.SelectorEventLoop()
    try:
        with pytest.raises(RuntimeError, match="Proactor"):
            loop.run_until_complete(connect(parse(address), Client))
    finally:
        loop.close()


@pytest.mark.contract("8.1")
async def test_it_is_opened_so_that_the_server_can_learn_who_we_are_and_no_more(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []
    real = _winapi.CreateFile

    def create(*args: Any) -> int:
        opened.append(args[5])
        return real(*args)

    monkeypatch.setattr(_winapi, "CreateFile", create)
    async with echoing(address):
        transport, _ = await connect(parse(address), Client)
        transport.abort()
        (await asyncio.to_thread(connect_blocking, parse(address), 5.0)).close()
    # SECURITY_SQOS_PRESENT, with SECURITY_IDENTIFICATION and not a bit above it.
    assert [flags & 0x001F_0000 for flags in opened] == [0x0011_0000] * 2


@pytest.mark.contract("8.1")
async def test_another_users_pipe_is_told_nothing(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with echoing(address) as sizes:
        monkeypatch.setattr(windows, "current_user", lambda: "S-1-5-21-1-2-3-1001")
        with pytest.raises(PermissionError, match=r"belongs to another user \(S-1-5-"):
            await connect(parse(address), Client)
        with pytest.raises(PermissionError, match="another user"):
            connect_blocking(parse(address), 1.0)
        monkeypatch.undo()
    assert not sizes


async def test_a_busy_pipe_is_waited_for(address: str) -> None:
    path = pipe.path_of(parse(address))
    only = _winapi.CreateNamedPipe(path, _winapi.PIPE_ACCESS_DUPLEX, 0, 1, 4096, 4096, 0, _winapi.NULL)
    first = _winapi.CreateFile(path, _winapi.GENERIC_READ, 0, 0, _winapi.OPEN_EXISTING, 0, 0)
    try:
        waiting = asyncio.ensure_future(connect(parse(address), Client))
        with pytest.raises(TimeoutError, match="did not accept in time"):
            await asyncio.to_thread(connect_blocking, parse(address), 0.01)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
    finally:
        _winapi.CloseHandle(first)
        _winapi.CloseHandle(only)


# Without a loop.


@pytest.mark.parametrize("size", SIZES)
async def test_an_endpoint_sends_while_another_thread_waits(address: str, size: int) -> None:
    def talk() -> int:
        endpoint = connect_blocking(parse(address), 5.0)
        got = 0

        def read() -> None:
            nonlocal got
            while got < size:
                got += len(endpoint.receive(30.0))

        thread = threading.Thread(target=read)
        thread.start()
        endpoint.send(b"x" * size, 30.0)
        thread.join()
        endpoint.close()
        endpoint.close()
        return got

    async with echoing(address):
        assert await within(asyncio.to_thread(talk)) == size


async def test_waits_of_an_endpoint_end_in_time(address: str) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await gone.wait()
        writer.transport.abort()

    gone = asyncio.Event()
    server = await bare.serve(address, silent)
    endpoint = await asyncio.to_thread(connect_blocking, parse(address), 5.0)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(endpoint.receive, 0.01)
    with pytest.raises(TimeoutError):
        await asyncio.to_thread(endpoint.send, b"x" * (8 << 20), 0.01)
    gone.set()
    assert await within(asyncio.to_thread(endpoint.receive, 5.0)) == b""
    with pytest.raises(BrokenPipeError):
        await within(asyncio.to_thread(endpoint.send, b"x", 5.0))
    endpoint.close()
    with pytest.raises(ConnectionError):
        endpoint.send(b"x", 1.0)
    server.close()


async def test_nothing_is_sent_for_nothing(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write of no bytes would read as the end: not under Wine, so what is asked of the system is looked at."""
    asked: list[int] = []
    write = _winapi.WriteFile

    def note(handle: int, data: bytes, overlapped: bool) -> Any:
        asked.append(len(data))
        return write(handle, data, overlapped)

    monkeypatch.setattr(_winapi, "WriteFile", note)
    async with echoing(address) as sizes:

        def talk() -> bytes:
            endpoint: PipeEndpoint = connect_blocking(parse(address), 5.0)
            endpoint.send(b"", 5.0)
            endpoint.send(b"x", 5.0)
            answer = endpoint.receive(5.0)
            endpoint.close()
            return answer

        assert await within(asyncio.to_thread(talk)) == b"x"
    assert sizes == [1]
    assert asked == [1]


SERVER = """
from mainbus.address import parse
from mainbus_broker.listeners import listen

assert sys.platform == "win32"

class Ready(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"x" * 100)
        say("here")

async def main():
    await listen(parse(sys.argv[1]), Ready)
    say("ready")
    await forever()

asyncio.run(main())
"""


@pytest.mark.contract("9.5")
async def test_the_end_of_a_killed_process_is_seen(address: str) -> None:
    async with Program(SERVER, address) as server:
        assert await server.line() == "ready"
        _, client = await connect(parse(address), Client)
        endpoint = await asyncio.to_thread(connect_blocking, parse(address), 5.0)
        assert await asyncio.to_thread(endpoint.receive, 5.0) == b"x" * 100
        await until(lambda: len(client.received) == 100)
        waiting = asyncio.ensure_future(asyncio.to_thread(endpoint.receive, 30.0))
        server.kill()
        assert isinstance(await within(client.lost), OSError | None)
        assert await within(waiting) == b""
        endpoint.close()
