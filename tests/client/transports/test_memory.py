"""Names inside a process: who listens, who connects, and the connection without a loop."""

import asyncio
import contextvars
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mainbus.address import Address, parse
from mainbus.transports.memory import MemoryEndpoint, MemoryServer, connect, connect_blocking
from mainbus.transports.memory_link import CHUNK, Link

APP = parse("memory:app")
variable = contextvars.ContextVar("variable", default="unset")


class Echo(asyncio.Protocol):
    """Sends back what it gets; closes when the peer does."""

    def __init__(self) -> None:
        self.seen = variable.get()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.transport.resume_reading()


class Silent(Echo):
    """Reads nothing."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.pause_reading()


class Client(asyncio.Protocol):
    """Collects what it gets."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)


@contextmanager
def server_in_a_thread(protocol: type[Echo] = Echo, address: Address = APP) -> Iterator[MemoryServer]:
    """A server whose loop runs in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def serve() -> MemoryServer:
        return MemoryServer(address, protocol)

    try:
        server = asyncio.run_coroutine_threadsafe(serve(), loop).result()
        yield server
        server.close()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# On loops.


@pytest.mark.contract("3.15")
@pytest.mark.parametrize("text", ["memory:", "memory:app"])
async def test_connect_to_a_name_of_this_process(text: str) -> None:
    server = MemoryServer(parse(text), Echo)
    transport, client = await connect(parse(text), Client)
    assert transport.get_extra_info("peername") == text
    transport.write(b"abc")
    transport.write_eof()
    assert await client.lost is None
    assert client.received == b"abc"
    server.close()


@pytest.mark.contract("3.15")
async def test_nobody_listens() -> None:
    server = MemoryServer(APP, Echo)
    with pytest.raises(ConnectionRefusedError, match="memory:other"):
        await connect(parse("memory:other"), Client)
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError, match="memory:app"):
        await connect(APP, Client)
    with pytest.raises(ConnectionRefusedError, match="memory:app"):
        connect_blocking(APP)


async def test_a_name_has_one_server() -> None:
    server = MemoryServer(APP, Echo)
    with pytest.raises(OSError, match="memory:app"):
        MemoryServer(APP, Echo)
    other = MemoryServer(parse("memory:other"), Echo)
    server.close()
    again = MemoryServer(APP, Echo)
    server.close()
    with pytest.raises(OSError, match="memory:app"):
        MemoryServer(APP, Echo)
    again.close()
    other.close()


def test_a_server_whose_loop_was_closed_is_replaced() -> None:
    async def serve() -> MemoryServer:
        return MemoryServer(APP, Echo)

    first = asyncio.run(serve())
    with pytest.raises(ConnectionRefusedError):
        connect_blocking(APP)
    second = asyncio.run(serve())
    first.close()
    assert not second.is_alive()
    second.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_server_stays_behind_at_a_fork() -> None:
    with server_in_a_thread():
        child = os.fork()
        if child == 0:
            try:
                connect_blocking(APP)
            except ConnectionRefusedError:
                os._exit(7)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


async def test_a_server_that_closes_before_it_accepted_resets() -> None:
    server = MemoryServer(APP, Echo)
    _, client = await connect(APP, Client)
    server.close()
    assert isinstance(await client.lost, ConnectionResetError)


async def test_a_factory_that_raises_resets() -> None:
    reports: list[object] = []
    loop = asyncio.get_running_loop()
    usual = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reports.append(context["exception"]))

    def factory() -> Echo:
        raise ValueError("broken")

    server = MemoryServer(APP, factory)
    _, client = await connect(APP, Client)
    assert isinstance(await client.lost, ConnectionResetError)
    loop.set_exception_handler(usual)
    assert [str(report) for report in reports] == ["broken"]
    server.close()


async def test_the_servers_protocol_does_not_see_the_clients_context() -> None:
    made: list[Echo] = []

    def factory() -> Echo:
        made.append(Echo())
        return made[0]

    server = MemoryServer(APP, factory)
    variable.set("the client's")
    transport, client = await connect(APP, Client)
    transport.write(b"x")
    transport.write_eof()
    await client.lost
    assert made[0].seen == "unset"
    server.close()


@pytest.mark.contract("3.15")
async def test_loops_of_two_threads() -> None:
    with server_in_a_thread():
        transport, client = await connect(APP, Client)
        data = os.urandom(3 * CHUNK)
        transport.write(data)
        transport.write_eof()
        assert await client.lost is None
        assert client.received == data


# Without a loop.


@pytest.mark.contract("3.15")
def test_an_endpoint_sends_and_receives() -> None:
    with server_in_a_thread():
        endpoint = connect_blocking(APP)
        for data in (b"abc", b"d" * 1000):
            endpoint.send(data, None)
            assert receive_all(endpoint, len(data)) == data
        endpoint.close()
        endpoint.close()


async def test_an_endpoint_in_another_thread_than_the_servers() -> None:
    server = MemoryServer(APP, Echo)

    def talk() -> bytes:
        endpoint = connect_blocking(APP)
        endpoint.send(b"abc", None)
        data = receive_all(endpoint, 3)
        endpoint.close()
        return data

    assert await asyncio.to_thread(talk) == b"abc"
    server.close()


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2 * CHUNK) | st.integers(0, 9), max_size=8))
def test_an_endpoint_sends_from_one_thread_and_receives_in_another(sizes: list[int]) -> None:
    with server_in_a_thread():
        endpoint = connect_blocking(APP)
        data = b"".join(bytes([number]) * size for number, size in enumerate(sizes))
        sender = threading.Thread(target=endpoint.send, args=(data, None))
        sender.start()
        assert receive_all(endpoint, len(data)) == data
        sender.join()
        endpoint.close()


def test_send_waits_for_a_peer_that_does_not_read() -> None:
    with server_in_a_thread(Silent):
        endpoint = connect_blocking(APP)
        endpoint.send(b"x" * CHUNK, 0)
        with pytest.raises(TimeoutError):
            endpoint.send(b"x", 0.01)
        endpoint.close()


def test_receive_times_out() -> None:
    with server_in_a_thread():
        endpoint = connect_blocking(APP)
        for timeout in (0, 0.01, -1):
            with pytest.raises(TimeoutError):
                endpoint.receive(timeout)
        endpoint.close()


def test_an_endpoint_sees_the_end_after_the_bytes() -> None:
    with server_in_a_thread():
        endpoint = connect_blocking(APP)
        endpoint.send(b"abc", None)
        endpoint.close()

    class Leaving(Echo):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"bye")
            self.transport.close()

    with server_in_a_thread(Leaving):
        endpoint = connect_blocking(APP)
        endpoint.send(b"abc", None)
        assert receive_all(endpoint, 3) == b"bye"
        assert endpoint.receive(None) == b""
        assert endpoint.receive(0) == b""
        with pytest.raises(BrokenPipeError):
            endpoint.send(b"def", None)
        endpoint.close()


def test_an_endpoint_sees_an_abort() -> None:
    class Aborting(Echo):
        def data_received(self, data: bytes) -> None:
            self.transport.write(b"lost")
            self.transport.abort()

    with server_in_a_thread(Aborting):
        endpoint = connect_blocking(APP)
        endpoint.send(b"abc", None)
        with pytest.raises(ConnectionResetError):
            endpoint.receive(None)
        endpoint.close()


def test_a_closed_endpoint_is_of_no_use_and_wakes_who_waits() -> None:
    with server_in_a_thread(Silent):
        endpoint = connect_blocking(APP)
        found: list[type[BaseException]] = []
        waiting = threading.Event()

        def receive() -> None:
            waiting.set()
            try:
                endpoint.receive(None)
            except OSError as error:
                found.append(type(error))

        thread = threading.Thread(target=receive)
        thread.start()
        waiting.wait()
        endpoint.close()
        thread.join()
        assert found == [OSError]
        with pytest.raises(OSError, match="closed"):
            endpoint.send(b"abc", None)


def test_what_an_endpoint_sent_arrives_after_its_close() -> None:
    class Collecting(Echo):
        def data_received(self, data: bytes) -> None:
            received.extend(data)

        def connection_lost(self, exc: Exception | None) -> None:
            lost.set()

    received, lost = bytearray(), threading.Event()
    with server_in_a_thread(Collecting):
        endpoint = connect_blocking(APP)
        endpoint.send(b"x" * CHUNK, None)
        endpoint.close()
        lost.wait()
    assert len(received) == CHUNK


def test_a_keyboard_interrupt_ends_a_wait() -> None:
    endpoint = MemoryEndpoint(Link(), Link())

    def interrupt(number: int, frame: FrameType | None) -> None:
        # Only once the main thread has come so far.
        if any(entry.name == "receive" for entry in traceback.extract_stack(frame)):
            done.set()
            raise KeyboardInterrupt

    def ring() -> None:
        while not done.wait(0.01):
            os.kill(os.getpid(), signal.SIGUSR1)

    done = threading.Event()
    previous = signal.signal(signal.SIGUSR1, interrupt)
    bell = threading.Thread(target=ring)
    bell.start()
    with pytest.raises(KeyboardInterrupt):
        endpoint.receive(None)
    bell.join()
    signal.signal(signal.SIGUSR1, previous)


def receive_all(endpoint: MemoryEndpoint, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += endpoint.receive(None)
    return data
