"""A renderer's connection for descriptors: the broker sends one with each packet, and nothing is sent but a hello.

It is apart from the main connection since the transports of a loop cannot receive descriptors: uvloop's lose them.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable
from typing import Final

from mainbus.address import Address
from mainbus.errors import ConnectionLost
from mainbus.transports.unix import connect_socket
from mainbus.wire.messages import LaneHello, pack
from mainbus.wire.packets import HEADER, HEADER_SIZE, Kind

TIMEOUT: Final = 10.0
"""Seconds that the broker has to answer."""

_AT_ONCE: Final = 64
_FLAGS: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0) | getattr(socket, "MSG_DONTWAIT", 0)

log = logging.getLogger("mainbus")


class Descriptors:
    """One such connection.

    Args:
        take: Called with kind, peer, request and value of a packet, and the descriptor that came with it, which is the
            callee's to close, and None if it could not be received; returns whether it takes that kind.
        lost: Called once when the connection has ended by itself.
    """

    def __init__(self, take: Callable[[int, int, int, int, int | None], bool], lost: Callable[[], None]) -> None:
        self._take = take
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = None
        self._data = b""
        self._fd: int | None = None
        """What has come with the packet of which `_data` is the beginning."""
        self._welcome: asyncio.Future[None] = self._loop.create_future()

    # Public

    async def open(self, address: Address, hello: LaneHello) -> None:
        """Connect. Cancelling it closes the connection.

        Raises:
            OSError: The broker cannot be reached, refuses, or does not answer.
        """
        sock = await connect_socket(address)
        self._sock = sock
        try:
            async with asyncio.timeout(TIMEOUT):
                await self._loop.sock_sendall(sock, pack(hello))
                self._loop.add_reader(sock.fileno(), self._read)
                await self._welcome
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection, and what has come by it and was not taken."""
        if self._sock is not None:
            self._loop.remove_reader(self._sock.fileno())
            self._sock.close()
            self._sock = None
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._welcome.cancel()

    # Private

    def _read(self) -> None:
        for _ in range(_AT_ONCE):
            if self._sock is None:
                return
            try:
                data, fds, _, _ = socket.recv_fds(self._sock, HEADER_SIZE - len(self._data), 1, _FLAGS)
            except BlockingIOError:
                return
            except OSError as error:
                log.debug("the connection for descriptors is lost: %s", error)
                data, fds = b"", []
            if not data:
                self._end()
                return
            for received in fds:
                # Where the system does not do so itself.
                os.set_inheritable(received, False)
                self._fd = received
            self._data += data
            if len(self._data) == HEADER_SIZE:
                packet, self._data = self._data, b""
                fd, self._fd = self._fd, None
                self._receive(packet, fd)

    def _receive(self, packet: bytes, fd: int | None) -> None:
        length, kind, _, _, _, peer, request, _, value = HEADER.unpack(packet)
        if length == HEADER_SIZE and self._welcome.done() and self._take(kind, peer, request, value, fd):
            return
        if fd is not None:
            os.close(fd)
        if kind == Kind.LANE and not self._welcome.done():
            self._welcome.set_result(None)
        else:
            self._end()

    def _end(self) -> None:
        is_open = self._welcome.done()
        if not is_open:
            self._welcome.set_exception(ConnectionLost("the broker refused a connection for descriptors"))
        self.close()
        if is_open:
            self._lost()
