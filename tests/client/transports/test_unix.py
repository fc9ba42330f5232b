"""Connections over Unix sockets: on the loop, without a loop, and to a broker that is too busy to accept."""

import asyncio
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from mainbus.address import parse
from mainbus.transports.unix import UnixEndpoint, connect, connect_blocking


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
def listening(address: str, backlog: int = 16) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(parse(address).path)
        sock.listen(backlog)
        yield sock


@contextmanager
def full_queue(address: str) -> Iterator[socket.socket]:
    """A listener that accepts nothing, with its queue of connections full."""
    with listening(address, backlog=0) as server, socket.socket(socket.AF_UNIX) as other:
        other.connect(parse(address).path)
        yield server


@contextmanager
def endpoint_and_peer() -> Iterator[tuple[UnixEndpoint, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    endpoint = UnixEndpoint(ours)
    with theirs:
        yield endpoint, theirs
    endpoint.close()


# On the loop.


async def test_connect(address: str) -> None:
    with listening(address) as server:
        transport, client = await connect(parse(address), Client)
        peer, _ = server.accept()
        with peer:
            transport.write(b"abc")
            assert await asyncio.to_thread(peer.recv, 100) == b"abc"
            peer.sendall(b"def")
        assert await client.lost is None
        assert client.received == b"def"


async def test_nobody_listens(address: str) -> None:
    with pytest.raises(FileNotFoundError):
        await connect(parse(address), Client)
    with listening(address):
        pass
    with pytest.raises(ConnectionRefusedError):
        await connect(parse(address), Client)


async def test_a_full_queue_is_waited_for(address: str) -> None:
    with full_queue(address) as server:
        connecting = asyncio.create_task(connect(parse(address), Client))
        done, _ = await asyncio.wait([connecting], timeout=0.02)
        assert not done
        server.accept()[0].close()
        transport, client = await connecting
        peer, _ = server.accept()
        with peer:
            transport.write(b"abc")
            assert await asyncio.to_thread(peer.recv, 100) == b"abc"
        await client.lost


async def test_cancelling_while_the_queue_is_full_leaves_nothing(address: str) -> None:
    with full_queue(address):
        connecting = asyncio.create_task(connect(parse(address), Client))
        await asyncio.wait([connecting], timeout=0.01)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting


# Without a loop.


def test_connect_blocking(address: str) -> None:
    with listening(address) as server:
        endpoint = connect_blocking(parse(address), None)
        peer, _ = server.accept()
        with peer:
            endpoint.send(b"abc", None)
            assert peer.recv(100) == b"abc"
            peer.sendall(b"def")
            assert endpoint.receive(None) == b"def"
        endpoint.close()


def test_nobody_listens_without_a_loop(address: str) -> None:
    with pytest.raises(FileNotFoundError):
        connect_blocking(parse(address), None)
    with listening(address):
        pass
    with pytest.raises(ConnectionRefusedError):
        connect_blocking(parse(address), 1)


def test_connect_blocking_gives_up_on_a_full_queue(address: str) -> None:
    with full_queue(address):
        for timeout in (0, 0.02):
            with pytest.raises(TimeoutError, match="did not accept in time"):
                connect_blocking(parse(address), timeout)


def test_connect_blocking_waits_for_a_full_queue(address: str) -> None:
    with full_queue(address) as server:
        accept = threading.Timer(0.02, lambda: server.accept()[0].close())
        accept.start()
        connect_blocking(parse(address), None).close()
        accept.join()


def test_receive_times_out() -> None:
    with endpoint_and_peer() as (endpoint, _):
        for timeout in (0, 0.01, -1):
            with pytest.raises(TimeoutError):
                endpoint.receive(timeout)


def test_receive_sees_the_end() -> None:
    with endpoint_and_peer() as (endpoint, peer):
        peer.sendall(b"abc")
        peer.close()
        assert endpoint.receive(None) == b"abc"
        assert endpoint.receive(None) == b""
        with pytest.raises(BrokenPipeError):
            endpoint.send(b"x", None)


def test_send_sends_all_to_a_slow_peer() -> None:
    data = os.urandom(3_000_000)
    with endpoint_and_peer() as (endpoint, peer):
        sender = threading.Thread(target=endpoint.send, args=(data, None))
        sender.start()
        received = b""
        while len(received) < len(data):
            received += peer.recv(10_000)
        sender.join()
    assert received == data


def test_send_times_out_as_a_whole() -> None:
    stop = threading.Event()

    def trickle(peer: socket.socket) -> None:
        # Each of these makes room for more, so a time-out per step would never come.
        while not stop.wait(0.005):
            peer.recv(65536)

    with endpoint_and_peer() as (endpoint, peer):
        reader = threading.Thread(target=trickle, args=(peer,))
        reader.start()
        with pytest.raises(TimeoutError):
            endpoint.send(bytes(50_000_000), 0.1)
        stop.set()
        reader.join()


def test_one_thread_sends_while_another_waits() -> None:
    with endpoint_and_peer() as (endpoint, peer):
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(endpoint.receive(None)))
        reader.start()
        with pytest.raises(TimeoutError):
            endpoint.send(bytes(50_000_000), 0.02)
        peer.sendall(b"abc")
        reader.join()
    assert received == [b"abc"]


@pytest.mark.parametrize("what", ["receive", "send", "connect_blocking"])
def test_a_keyboard_interrupt_ends_a_wait(address: str, what: str) -> None:
    def interrupt(number: int, frame: FrameType | None) -> None:
        # Only once the main thread has come so far.
        if any(entry.name == what for entry in traceback.extract_stack(frame)):
            done.set()
            raise KeyboardInterrupt

    def ring() -> None:
        while not done.wait(0.01):
            os.kill(os.getpid(), signal.SIGUSR1)

    done = threading.Event()
    previous = signal.signal(signal.SIGUSR1, interrupt)
    bell = threading.Thread(target=ring)
    with endpoint_and_peer() as (endpoint, _), full_queue(address):
        bell.start()
        waits: dict[str, Callable[[], object]] = {
            "receive": lambda: endpoint.receive(None),
            "send": lambda: endpoint.send(bytes(50_000_000), None),
            "connect_blocking": lambda: connect_blocking(parse(address), None),
        }
        with pytest.raises(KeyboardInterrupt):
            waits[what]()
        bell.join()
    signal.signal(signal.SIGUSR1, previous)
