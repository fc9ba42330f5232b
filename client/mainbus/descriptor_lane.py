"""The connection for descriptors of one session: opened on first need, for all who need it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from mainbus.descriptors import Descriptors
from mainbus.errors import MainbusError
from mainbus.wire.messages import LaneHello, Welcome

if TYPE_CHECKING:
    from mainbus.address import Address

Take: TypeAlias = Callable[[int, int, int, int | None], None]
"""Takes peer, request and value of a packet, and the descriptor that came with it, which it closes; None if it could
not be received."""

log = logging.getLogger("mainbus")


class DescriptorLane:
    """One such connection, or what becomes one.

    Args:
        welcome: What the session's connection began with.
        address: Where the broker is.
    """

    __slots__ = ("_address", "_descriptors", "_has_failed", "_opening", "_waiting", "takers", "welcome")

    def __init__(self, welcome: Welcome, address: Address) -> None:
        self.takers: dict[int, Take] = {}
        """Who takes what comes, by the kind of the packet."""
        self.welcome = welcome
        self._address = address
        self._descriptors: Descriptors | None = None
        self._waiting: tuple[Callable[[], object], ...] = ()
        self._opening: asyncio.Task[None] | None = None
        self._has_failed = False

    # Public

    @property
    def is_idle(self) -> bool:
        """Whether no task of it runs."""
        return self._opening is None or self._opening.done()

    def when_open(self, call: Callable[[], object]) -> None:
        """Call when descriptors can come; never, if they cannot."""
        if self._descriptors is not None:
            call()
        elif not self._has_failed:
            self._waiting += (call,)
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open(), name="mainbus descriptors")

    def close(self) -> None:
        """Close it: the session's connection is gone."""
        self._waiting = ()
        if self._opening is not None:
            self._opening.cancel()
        if self._descriptors is not None:
            self._descriptors.close()
            self._descriptors = None
        self._has_failed = True

    # Private

    async def _open(self) -> None:
        descriptors = Descriptors(self._take, self._lost)
        assert self.welcome.descriptors is not None
        hello = LaneHello(id=self.welcome.id, nonce=self.welcome.descriptors, descriptors=True)
        try:
            await descriptors.open(self._address, hello)
        except (OSError, MainbusError) as error:
            # From now on nothing is asked for again: what is to be had is had without.
            log.debug("no connection for descriptors: %s", error)
            self._has_failed = True
            self._waiting = ()
            return
        self._descriptors = descriptors
        self._opening = None
        waiting, self._waiting = self._waiting, ()
        for call in waiting:
            call()

    def _lost(self) -> None:
        self._descriptors = None

    def _take(self, kind: int, peer: int, request: int, value: int, fd: int | None) -> bool:
        taker = self.takers.get(kind)
        if taker is None:
            return False
        taker(peer, request, value, fd)
        return True
