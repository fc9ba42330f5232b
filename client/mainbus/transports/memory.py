"""``memory:``: a connection inside one process, between loops of any threads, and without a loop."""

import asyncio
import contextvars
import errno
import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from mainbus.address import Address
from mainbus.transports.memory_link import CHUNK, Link
from mainbus.transports.memory_transport import MemoryTransport

__all__ = ["MemoryEndpoint", "MemoryServer", "connect", "connect_blocking"]

P = TypeVar("P", bound=asyncio.Protocol)

# Bytes of an endpoint that may wait for its peer before `send` waits too.
_HIGH = 64 * 1024

# By name, who listens in this process. Needs no lock: each use is one operation of the dict.
_servers: dict[str, "MemoryServer"] = {}


class MemoryServer:
    """Somebody who listens at a name of this process, on the running loop.

    Args:
        address: a ``memory:`` address.
        protocol_factory: makes a protocol per connection, on that loop.

    Raises:
        OSError: EADDRINUSE, somebody listens there.
    """

    def __init__(self, address: Address, protocol_factory: Callable[[], asyncio.Protocol]) -> None:
        self.address = address
        self.loop = asyncio.get_running_loop()
        self._protocol_factory = protocol_factory
        # Its protocols must not see the variables of whoever connects.
        self._context = contextvars.copy_context()
        self.pid = os.getpid()
        holder = _servers.get(address.path)
        if holder is not None and not holder.is_alive():
            # Its loop was closed, or it came along with a fork: nobody answers there.
            holder.close()
        if _servers.setdefault(address.path, self) is not self:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(address))

    def is_alive(self) -> bool:
        """Say whether its loop can still accept."""
        return self.pid == os.getpid() and not self.loop.is_closed()

    def offer(self, transport: MemoryTransport) -> None:
        """Accept the server's end of a new connection on the server's loop; any thread may call it.

        Raises:
            ConnectionRefusedError: the loop accepts nothing any more.
        """
        try:
            self.loop.call_soon_threadsafe(self._accept, transport, context=self._context)
        except RuntimeError:
            raise _refused(self.address) from None

    def close(self) -> None:
        """Accept nothing any more. A second call does nothing."""
        if _servers.get(self.address.path) is self:
            del _servers[self.address.path]

    def _accept(self, transport: MemoryTransport) -> None:
        if _servers.get(self.address.path) is not self:
            transport.abort()
            return
        try:
            transport.start(self._protocol_factory())
        except BaseException:
            transport.abort()
            raise


class MemoryEndpoint:
    """The end of a memory connection that needs no loop, used from threads; see `Endpoint`."""

    __slots__ = ("_changed", "_incoming", "_outgoing")

    def __init__(self, incoming: Link, outgoing: Link) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._changed = threading.Condition()
        incoming.reader = outgoing.writer = self

    def wake(self) -> None:
        """Let the threads that wait look at the links; any thread may call it."""
        with self._changed:
            self._changed.notify_all()

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of the bytes; see `Endpoint`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        for start in range(0, len(data), CHUNK):
            self._wait(self._can_send, deadline)
            if self._outgoing.ended:
                raise OSError(errno.EBADF, "the connection is closed")
            if self._outgoing.closed:
                raise BrokenPipeError(errno.EPIPE, "the peer has closed the connection")
            self._outgoing.put(data[start : start + CHUNK])

    def receive(self, timeout: float | None) -> bytes:
        """Wait for bytes; see `Endpoint`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        self._wait(self._can_receive, deadline)
        if self._incoming.closed:
            raise OSError(errno.EBADF, "the connection is closed")
        if self._incoming.broken:
            raise ConnectionResetError(errno.ECONNRESET, "the peer aborted the connection")
        data = self._incoming.take()
        self._incoming.consumed(len(data))
        return data

    def close(self) -> None:
        """Close; see `Endpoint`."""
        self._incoming.close()
        self._outgoing.end()
        self.wake()

    def _can_send(self) -> bool:
        return self._outgoing.ended or self._outgoing.is_down_to(_HIGH)

    def _can_receive(self) -> bool:
        return self._incoming.closed or self._incoming.has_news()

    def _wait(self, condition: Callable[[], bool], deadline: float | None) -> None:
        with self._changed:
            if not self._changed.wait_for(condition, None if deadline is None else deadline - time.monotonic()):
                raise TimeoutError("the broker did not answer in time")


async def connect(address: Address, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
    """Connect on the running loop; see `mainbus.transports.connect`."""
    server = _find(address)
    there, back = Link(), Link()
    transport = MemoryTransport(asyncio.get_running_loop(), back, there, str(address))
    protocol = protocol_factory()
    server.offer(MemoryTransport(server.loop, there, back, str(address)))
    transport.start(protocol)
    return transport, protocol


def connect_blocking(address: Address) -> MemoryEndpoint:
    """Connect without a loop; see `mainbus.transports.connect_blocking`."""
    server = _find(address)
    there, back = Link(), Link()
    endpoint = MemoryEndpoint(back, there)
    server.offer(MemoryTransport(server.loop, there, back, str(address)))
    return endpoint


def _find(address: Address) -> MemoryServer:
    server = _servers.get(address.path)
    # One that came along with a fork would be asked in vain: its loop runs in the parent.
    if server is None or server.pid != os.getpid():
        raise _refused(address)
    return server


def _refused(address: Address) -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED), str(address))
