"""The direct ports of one connection: how a port gets its socket past the broker, and what all of them share."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import TYPE_CHECKING

from mainbus.descriptor_lane import DescriptorLane
from mainbus.direct_link import DirectLink
from mainbus.open_files import has_files
from mainbus.wire.packets import Kind, build

if TYPE_CHECKING:
    from mainbus.port_remote import Remote

log = logging.getLogger("mainbus")


class DirectPorts:
    """What one connection has past its broker.

    Args:
        lane: How descriptors come.
        remotes: The ports, by number.
        put: Sends a packet to the broker: behind all that a port has posted, or at once if that is None.
    """

    def __init__(
        self,
        lane: DescriptorLane,
        remotes: Mapping[int, Remote],
        put: Callable[[Remote | None, bytes], None],
    ) -> None:
        self._max_message = lane.welcome.limits.message
        self._most = lane.welcome.limits.direct
        self._lane = lane
        lane.takers[Kind.PORT_DIRECT] = self._take
        self._remotes = remotes
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._links: set[DirectLink] = set()
        self._waiting: dict[int, tuple[Remote, DirectLink]] = {}
        """Those for which the other end has not switched yet, by serial."""
        self._tasks: set[asyncio.Task[None]] = set()

    # Public

    def __len__(self) -> int:
        """Return how many ports are direct."""
        return sum(link.is_open and not link.has_left for link in self._links)

    @property
    def is_empty(self) -> bool:
        """Whether no socket is open, or is to be."""
        return not (self._links or self._tasks or self._waiting)

    def ask(self, remote: Remote) -> None:
        """Ask for a socket for a port."""
        self._lane.when_open(partial(self._ask, remote))

    def switched(self, number: int, serial: int, *, refused: bool) -> None:
        """Note that the other end has switched, too; or that nothing comes of a socket."""
        remote, link = self._waiting.pop(serial, (self._remotes.get(number), None))
        if link is not None and not refused:
            link.open()
        elif link is not None:
            link.abort()
        if remote is None or remote.link is not link:
            return
        if refused:
            remote.refused()
        else:
            remote.go_on()

    async def flushed(self) -> None:
        """Wait until the kernel has all that was posted. Safe to cancel."""
        for link in list(self._links):
            await link.flushed()

    def close(self) -> None:
        """Close all sockets: the connection to the broker is gone, and all ports with it."""
        for task in self._tasks:
            task.cancel()
        self._waiting.clear()
        for link in list(self._links):
            link.abort()

    def _ask(self, remote: Remote) -> None:
        if self._remotes.get(remote.number) is remote:
            self._put(None, build(Kind.PORT_DIRECT, remote.number))

    # Private: sockets

    def _take(self, number: int, serial: int, value: int, fd: int | None) -> None:
        """Take a port's end of a socket, or say that it cannot be taken."""
        remote = self._remotes.get(number)
        wanted = remote is not None and remote.may_switch and len(self._links) < self._most
        if fd is None or not wanted or not has_files(fd):
            if fd is not None:
                os.close(fd)
            self._refuse(number, serial)
            return
        sock = socket.socket(fileno=fd)
        sock.setblocking(False)
        link = DirectLink(sock, self._max_message, partial(self._gone, serial))
        # It may be cancelled before its first step, or in the midst of it.
        self._spawn(self._connect(number, serial, sock, link), lambda: self._check(link, sock))

    async def _connect(self, number: int, serial: int, sock: socket.socket, link: DirectLink) -> None:
        self._links.add(link)
        try:
            await self._loop.create_unix_connection(lambda: link, sock=sock)
        except BaseException as error:
            self._links.discard(link)
            if not isinstance(error, OSError):
                raise
            self._refuse(number, serial)
            return
        remote = self._remotes.get(number)
        # The other end may have been closed by now: its renderer could not take it.
        if remote is None or not remote.may_switch or link.is_drained:
            link.abort()
            self._refuse(number, serial)
            return
        remote.switch(link)
        self._waiting[serial] = (remote, link)
        self._put(remote, build(Kind.PORT_SWITCH, number, serial))

    def _check(self, link: DirectLink, sock: socket.socket) -> None:
        """Close a socket that has no transport."""
        if link not in self._links:
            sock.close()

    def _refuse(self, number: int, serial: int) -> None:
        if number in self._remotes:
            self._put(None, build(Kind.PORT_DIRECT, number, serial, value=1))

    def _gone(self, serial: int, link: DirectLink) -> None:
        self._links.discard(link)
        # If its port is closed or has left meanwhile, no answer comes.
        self._waiting.pop(serial, None)

    def _spawn(self, coroutine: Coroutine[object, object, None], done: Callable[[], None] | None = None) -> None:
        task = self._loop.create_task(coroutine, name="mainbus direct port")
        self._tasks.add(task)

        def forget(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if done is not None:
                done()

        task.add_done_callback(forget)
