"""The ways to a broker: one file per scheme, each with ``connect`` and ``connect_blocking``; sessions import it."""

import asyncio
import sys
from collections.abc import Callable
from typing import Protocol, TypeVar

from mainbus.address import Address, check_folder
from mainbus.transports import memory

if sys.platform == "win32":
    from mainbus.transports import pipe as here
else:
    from mainbus.transports import unix as here

__all__ = ["Endpoint", "connect", "connect_blocking"]

P = TypeVar("P", bound=asyncio.Protocol)


class Endpoint(Protocol):
    """A connection for a thread that has no running loop, or whose loop stands still.

    One thread may send while another receives. A KeyboardInterrupt ends any wait; bytes of an interrupted or timed
    out ``send`` may have left, so the connection is of no use then.
    """

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of the bytes.

        Args:
            data: what to send.
            timeout: seconds for all of it; None waits for ever.

        Raises:
            TimeoutError: not all of it has left in time.
            ConnectionError: the peer is gone.
        """

    def receive(self, timeout: float | None) -> bytes:
        """Wait for bytes and return them, at most 256 KiB.

        Args:
            timeout: seconds; None waits for ever.

        Returns:
            The bytes, or ``b""`` once the peer has closed and all it sent was received.

        Raises:
            TimeoutError: nothing came in time.
            ConnectionError: the peer is gone without a close.
        """

    def close(self) -> None:
        """Close; what was sent still arrives. A second call does nothing."""


async def connect(address: Address, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
    """Open a connection on the running loop.

    Args:
        address: where the broker listens.
        protocol_factory: makes the protocol; its ``connection_made`` has been called on return.

    Returns:
        The transport and the protocol.

    Raises:
        AddressError: the default folder may be somebody else's.
        OSError: as the system says it: FileNotFoundError and ConnectionRefusedError mean that nobody listens.

    Cancelling is safe: the connection is closed. A broker that is too busy to accept is waited for.
    """
    check_folder(address)
    if address.scheme == "memory":
        return await memory.connect(address, protocol_factory)
    return await here.connect(address, protocol_factory)


def connect_blocking(address: Address, timeout: float | None) -> Endpoint:
    """Open a connection that needs no loop.

    Args:
        address: where the broker listens.
        timeout: seconds to wait for a broker that is too busy to accept; None waits for ever.

    Raises:
        TimeoutError: the broker did not accept in time.
        AddressError, OSError: as `connect`.
    """
    check_folder(address)
    if address.scheme == "memory":
        return memory.connect_blocking(address)
    return here.connect_blocking(address, timeout)
