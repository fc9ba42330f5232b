"""Reading in place: while something large arrives, what is read lies where it stays.

A protocol gets what was read as bytes that its loop has copied, and what has come of a packet is copied once more
when its rest is there. For small packets that is the fastest there is; of large ones nothing else costs as much. So
something else stands in front of the protocol while they come, and gives the loop the room for one packet to read to.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from mainbus.quick import COMPILED

if COMPILED:
    from mainbus.wire.intake_fast import Intake

if TYPE_CHECKING:
    from mainbus.wire.connection import Connection


def read_in_place(
    wire: Connection,
    protocol: asyncio.Protocol,
    transport: asyncio.Transport,
    *,
    failed: Callable[[], object],
    reserved: Callable[[int], None] | None = None,
    filled: Callable[[], None] | None = None,
) -> None:
    """Read what comes to where it stays, until it is small for a while; nothing where that cannot be done.

    Args:
        wire: Scans what comes.
        protocol: Takes it.
        transport: Where it comes from.
        failed: Called a turn after there was no memory for it; it ends the connection.
        reserved: Called with the bytes that were made room for, or that `protocol` does not see.
        filled: Called when all the room was filled, so that the loop is about to read more.
    """
    wire.expects_large = False
    # A pipe's loop copies in any case, and memory has nothing to read.
    if COMPILED and sys.platform != "win32" and transport.get_extra_info("socket") is not None:
        wire.in_place = True
        # Not amid a read, for which there must be some room.
        later = partial(asyncio.get_running_loop().call_soon, failed)
        transport.set_protocol(InPlace(wire, protocol, transport, reserved, filled, later))


if COMPILED:

    class InPlace(Intake, asyncio.BufferedProtocol):
        """Stands in front of a protocol. Arguments as of `read_in_place`."""

        __slots__ = ("_protocol", "_scanner", "_transport")

        def __init__(
            self,
            wire: Connection,
            protocol: asyncio.Protocol,
            transport: asyncio.Transport,
            reserved: Callable[[int], None] | None,
            filled: Callable[[], None] | None,
            failed: Callable[[], object],
        ) -> None:
            super().__init__(wire, protocol.data_received, self._restore, reserved, filled, failed)
            self._scanner = wire
            self._protocol = protocol
            self._transport = transport

        # Callbacks

        def eof_received(self) -> bool | None:
            """Pass it on."""
            return self._protocol.eof_received()

        def connection_lost(self, exc: Exception | None) -> None:
            """Pass it on."""
            self._protocol.connection_lost(exc)

        def pause_writing(self) -> None:
            """Pass it on."""
            self._protocol.pause_writing()

        def resume_writing(self) -> None:
            """Pass it on."""
            self._protocol.resume_writing()

        # Private

        def _restore(self) -> None:
            """Give the protocol its place back, if what comes is small again."""
            if self._scanner.is_between and self._transport.get_protocol() is self:
                self._scanner.in_place = False
                self._transport.set_protocol(self._protocol)
