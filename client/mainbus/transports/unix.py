"""Unix sockets: a transport of the running loop, and a connection without a loop."""

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from mainbus.address import Address

__all__ = ["UnixEndpoint", "connect", "connect_blocking", "connect_socket"]

P = TypeVar("P", bound=asyncio.Protocol)

_CHUNK = 256 * 1024

# Seconds between two tries while the broker's queue of connections is full. The system offers nothing to wait on.
_FIRST_PAUSE = 0.001
_LONGEST_PAUSE = 0.05


async def connect(address: Address, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
    """Connect on the running loop; see `mainbus.transports.connect`."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.BaseEventLoop):
        return await _connect_path(loop, address.path, protocol_factory)
    sock = await connect_socket(address)
    try:
        return await loop.create_unix_connection(protocol_factory, sock=sock)
    except BaseException:
        sock.close()
        raise


async def connect_socket(address: Address) -> socket.socket:
    """Return a connected socket that does not block, for whoever reads and writes it without a transport.

    Args:
        address: where the broker listens.

    Raises:
        OSError: as the system says it.

    Cancelling is safe: the socket is closed. A broker that is too busy to accept is waited for.
    """
    sock = _new_socket()
    try:
        pause = _FIRST_PAUSE
        while not _try_connect(sock, address.path):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
    except BaseException:
        sock.close()
        raise
    return sock


def connect_blocking(address: Address, timeout: float | None) -> "UnixEndpoint":
    """Connect without a loop; see `mainbus.transports.connect_blocking`."""
    deadline = _Deadline(timeout)
    sock = _new_socket()
    try:
        pause = _FIRST_PAUSE
        while not _try_connect(sock, address.path):
            deadline.check(f"{address} did not accept in time")
            time.sleep(deadline.within(pause))
            pause = min(2 * pause, _LONGEST_PAUSE)
        return UnixEndpoint(sock)
    except BaseException:
        sock.close()
        raise


class UnixEndpoint:
    """A connected socket, used from threads."""

    # The socket never blocks, and waits are polls of each call's own: a timeout set on the socket itself would be
    # shared between the thread that sends and the one that receives.

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of the bytes; see `Endpoint`."""
        deadline = _Deadline(timeout)
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)

    def receive(self, timeout: float | None) -> bytes:
        """Wait for bytes; see `Endpoint`."""
        deadline = _Deadline(timeout)
        while True:
            self._wait(select.POLLIN, deadline)
            with contextlib.suppress(BlockingIOError):  # another thread was faster
                return self._sock.recv(_CHUNK)

    def close(self) -> None:
        """Close; see `Endpoint`."""
        self._sock.close()

    def _wait(self, event: int, deadline: "_Deadline") -> None:
        poll = select.poll()
        poll.register(self._sock, event)
        if not poll.poll(deadline.milliseconds()):
            raise TimeoutError("the broker did not answer in time")


class _Deadline:
    """When a wait that goes on in several steps ends."""

    __slots__ = ("_at",)

    def __init__(self, timeout: float | None) -> None:
        self._at = None if timeout is None else time.monotonic() + timeout

    def within(self, seconds: float) -> float:
        return seconds if self._at is None else max(0.0, min(seconds, self._at - time.monotonic()))

    def milliseconds(self) -> float | None:
        return None if self._at is None else max(0.0, (self._at - time.monotonic()) * 1000)

    def check(self, message: str) -> None:
        if self._at is not None and time.monotonic() >= self._at:
            raise TimeoutError(message)


async def _connect_path(
    loop: asyncio.AbstractEventLoop, path: str, protocol_factory: Callable[[], P]
) -> tuple[asyncio.Transport, P]:
    """Connect on a loop that is not asyncio's: uvloop, which says by an error that the queue is full.

    It needs no socket object of Python's, and about a third less time.
    """
    pause = _FIRST_PAUSE
    while True:
        try:
            return await loop.create_unix_connection(protocol_factory, path)
        except BlockingIOError:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _new_socket() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    return sock


def _try_connect(sock: socket.socket, path: str) -> bool:
    # By hand: on a Unix socket EAGAIN means that the queue of connections is full and nothing is under way, which
    # asyncio takes for a connection in progress and then hands out a socket that is not connected.
    try:
        sock.connect(path)
    except BlockingIOError:
        return False
    return True
