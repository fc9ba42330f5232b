"""The broker's end of a renderer's connection for descriptors: it sends one with each packet, and reads nothing."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from mainbus.wire.packets import Kind, build

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer


class DescriptorEnd(asyncio.Protocol):
    """One such connection.

    The transport only watches for its end. What is sent goes past it, since no loop's transport sends descriptors,
    and at once or not at all: a renderer that does not read them gets none, and nothing waits here.

    Args:
        hub: The broker.
        peer: The renderer whose connection it is.
        transport: The connection.
        fd: Its own descriptor.
    """

    def __init__(self, hub: Hub, peer: Peer, transport: asyncio.Transport, fd: int) -> None:
        self._hub = hub
        self._peer = peer
        self._transport = transport
        self._fd = fd

    # Public

    def start(self) -> None:
        """Let the renderer know that it is welcome."""
        self._send(build(Kind.LANE), ())

    def give(self, kind: Kind, peer: int, request: int, fd: int, value: int = 0) -> bool:
        """Send a descriptor with a packet; whether it has left. The caller still has it, and closes it."""
        return self._send(build(kind, peer, request, value=value), (fd,))

    def abort(self) -> None:
        """End the connection."""
        self._transport.abort()

    # Callbacks

    def data_received(self, data: bytes) -> None:
        """End the connection: a renderer has nothing to say here."""
        self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._fd = -1
        if self._peer.descriptors is self:
            self._peer.descriptors = None
        if self._peer.closing:
            return
        self._hub.shared_pools.lost(self._peer)
        if self._peer.ports is not None:
            self._hub.direct_pairs.lost(self._peer.ports)

    # Private

    def _send(self, packet: bytes, fds: tuple[int, ...]) -> bool:
        if self._fd < 0 or self._transport.is_closing():
            return False
        sock = socket.socket(fileno=self._fd)
        # It would wait for room as long as the application has set for new sockets.
        sock.settimeout(0)
        try:
            if fds:
                sent = socket.send_fds(sock, [packet], list(fds))
            else:
                sent = sock.send(packet)
        except OSError:
            sent = 0
        finally:
            # It is the transport's.
            sock.detach()
        if 0 < sent < len(packet):
            # The rest cannot follow: it would have to wait for room.
            self.abort()
        return sent == len(packet)
