"""Listen at a name of this process."""

import asyncio
import os
from collections.abc import Callable

from mainbus.address import Address
from mainbus.errors import AddressError
from mainbus.transports.memory import MemoryServer

__all__ = ["MemoryListener", "listen"]


class MemoryListener:
    """A listener inside this process; see `Listener`."""

    __slots__ = ("_server",)

    def __init__(self, server: MemoryServer) -> None:
        self._server = server

    @property
    def address(self) -> Address:
        """The address really bound."""
        return self._server.address

    def stop_accepting(self) -> None:
        """Accept nothing any more; see `Listener`."""
        self._server.close()

    async def aclose(self) -> None:
        """Stop accepting and let others have the name; see `Listener`."""
        self._server.close()


def listen(address: Address, protocol_factory: Callable[[], asyncio.Protocol]) -> MemoryListener:
    """Listen on the running loop; see `mainbus_broker.listeners.listen`."""
    try:
        return MemoryListener(MemoryServer(address, protocol_factory))
    except OSError as error:
        raise AddressError(str(address), "in use by another broker of this process", pid=os.getpid()) from error
