"""The last moments of a connection: a close while its renderer writes would cut off what it has not read yet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub

LINGER = 1.0
"""Seconds that a renderer has to close, once it was told goodbye."""


class Farewell(asyncio.Protocol):
    """The protocol of a connection on which everything was said. What still comes is read and dropped.

    The writing half is shut, so the renderer reads all there is and closes. It closes a moment later at the latest.
    """

    __slots__ = ("_hub", "_is_cut_off", "_timer", "_transport")

    def __init__(self, hub: Hub, transport: asyncio.Transport) -> None:
        self._hub = hub
        self._transport = transport
        self._is_cut_off = False
        self._timer = hub.loop.call_later(LINGER, transport.abort)
        hub.leaving[self] = hub.loop.create_future()
        transport.set_protocol(self)
        # A pipe cannot: there the goodbye itself makes the renderer close.
        if transport.can_write_eof():
            transport.write_eof()
        transport.resume_reading()

    def close(self) -> None:
        """Wait for the other end no longer."""
        self._transport.close()

    def cut_off(self) -> None:
        """Give up what the other end has not read."""
        self._is_cut_off = True
        self._transport.abort()

    @property
    def size(self) -> int:
        """Bytes that the other end has not read."""
        return 0 if self._is_cut_off else self._transport.get_write_buffer_size()

    # Callbacks

    def data_received(self, data: bytes) -> None:
        """Drop it."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of it."""
        self._timer.cancel()
        self._hub.leaving.pop(self).set_result(None)
