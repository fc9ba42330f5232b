"""Where a broker listens: one file per scheme, each with ``listen``; the broker imports it."""

import asyncio
import socket
import sys
from collections.abc import Callable
from typing import Protocol

from mainbus.address import Address
from mainbus.errors import AddressError

from mainbus_broker.listeners import memory
from mainbus_broker.listeners.identity import Process, can_hand_over, identify, same_user

if sys.platform == "win32":
    from mainbus_broker.listeners import pipe
else:
    from mainbus_broker.listeners import unix

__all__ = ["Listener", "Process", "can_hand_over", "identify", "listen", "same_user"]


class Listener(Protocol):
    """A place where renderers connect."""

    @property
    def address(self) -> Address:
        """The address really bound."""

    def stop_accepting(self) -> None:
        """Accept nothing any more; connections that exist go on. A second call does nothing."""

    async def aclose(self) -> None:
        """Stop accepting, remove what is ours, and let others have the address; the last step of a shutdown.

        Cancelling is safe: it has no await. A second call does nothing.
        """


async def listen(
    address: Address, protocol_factory: Callable[[], asyncio.Protocol], *, sock: socket.socket | None = None
) -> Listener:
    """Listen at an address on the running loop.

    Args:
        address: where.
        protocol_factory: makes a protocol per connection.
        sock: a listening socket made by somebody else (socket activation); it is used as it is, and its path is
            neither locked nor removed.

    Returns:
        The listener; it accepts by now.

    Raises:
        AddressError: somebody else listens there, or nobody can; the text says who or why.

    Cancelling is safe: nothing is left behind.
    """
    if address.scheme == "memory":
        return memory.listen(address, protocol_factory)
    if sys.platform == "win32":
        if sock is not None:
            raise AddressError(str(address), "Windows hands over no listening sockets")
        return await pipe.listen(address, protocol_factory)
    else:
        if sock is not None:
            return await unix.adopt(address, protocol_factory, sock)
        return await unix.listen(address, protocol_factory)
