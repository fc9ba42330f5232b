"""The ports of one connection, by number: how ends leave and arrive, and what the broker says of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

from mainbus import port_loop
from mainbus.port_end import NOBODY, End
from mainbus.port_remote import Remote
from mainbus.wire.packets import FREE
from mainbus.wire.port_table import CLOSED, Entry

if TYPE_CHECKING:
    from mainbus.port_loop import PortLoop
    from mainbus.ports import MessagePort

log = logging.getLogger("mainbus")


class PortRegistry:
    """The ports of one connection. A subclass knows how packets leave.

    Args:
        make: Makes the handle of an end.
    """

    direct_after = 0
    """Cost of the messages on a port after which it asks to become direct; 0: never."""

    def __init__(self, make: Callable[[End], MessagePort]) -> None:
        self._loop: PortLoop = port_loop.running(make)
        self._remotes: dict[int, Remote] = {}
        self._last = -1

    # Public

    def __len__(self) -> int:
        return len(self._remotes)

    def depart(self, end: End) -> tuple[Entry, Remote | None]:
        """Let an end leave that nobody holds any more.

        Returns:
            Its entry in the table of the message that it leaves with; and the other end's way, if that is known to
            the broker from now on only, to be opened when the table has left.
        """
        if end.remote is not None and end.remote.registry is not self:
            # It was queued on a port of this process before either had a connection.
            log.warning("a port of another connection was closed: it cannot leave over this one")
            end.lost()
        if end.is_shut:
            return CLOSED, None
        if end.remote is not None:
            return (end.remote.number, 0), None
        other = end.other
        if other is None:
            # The channel is closed, but what has arrived must still reach the next owner.
            other = self._loop.new_end()
            other.is_shut = True
        remote, back = self._number(end), self._number(other)
        back.opened = False
        end.other = other.other = None
        if not other.moving:
            # Not to come back after the end when that has left: if this connection is lost before, what is posted
            # later would arrive, and these would not.
            self._post_again(end, back)
        if other.is_shut:
            back.close()
        return (remote.number, back.number), back

    def arrive(self, entries: Iterable[Entry]) -> list[MessagePort]:
        """Return the ports that have come with a message."""
        return [self._loop.handle(self._arrived(*entry)) for entry in entries]

    def close_all(self) -> None:
        """Close all ports: the connection is gone."""
        remotes, self._remotes = self._remotes, {}
        for remote in remotes.values():
            remote.end.remote = None
            remote.ended()

    def hurry(self) -> None:
        """Send all that is held: the connection is about to end."""
        for remote in list(self._remotes.values()):
            remote.hurry()

    # Public: what the broker says

    def message(self, number: int, entries: Iterable[Entry], body: bytes, *, free: bool = False) -> None:
        """Take in a message for a port. `free`: it costs no credit, since it came past the broker to a former owner."""
        ports = self.arrive(entries)
        remote = self._remotes.get(number)
        # If it is closed, so are those that have come for it: nobody holds them.
        if remote is None:
            return
        if remote.link is not None and remote.link.is_open:
            remote.link.follow(partial(self._take_in, remote, ports, body, free))
        else:
            self._take_in(remote, ports, body, free)

    def credit(self, number: int, credit: int) -> None:
        """Let an end send on."""
        remote = self._remotes.get(number)
        if remote is not None:
            remote.credited(credit)

    def closed(self, number: int, *, is_cut: bool = False) -> None:
        """Note that the other end of a port is gone. `is_cut`: with its owner's connection."""
        remote = self._remotes.get(number)
        if remote is None:
            return
        if remote.link is not None and remote.link.is_open:
            remote.link.follow(remote.ended, is_end=True, is_cut=is_cut)
        else:
            remote.ended()

    # For a subclass

    def ask_direct(self, remote: Remote) -> None:
        """Ask for a socket past the broker for a port. Nothing may come of it."""

    def send_after(self, remote: Remote) -> None:
        """Send after an end that has left the messages that had come for it."""
        for body, ports, payee in remote.end.take_all():
            ends = [port.release() for port in ports if port.end is not None]
            self.put_message(remote, body, ends, 0 if payee is None else FREE)

    def check_size(self, size: int) -> None:
        """Raise if no message may have `size` bytes.

        Raises:
            MessageTooLarge: It may not.
        """
        raise NotImplementedError

    async def drain(self) -> None:
        """Wait until what was sent has left. Safe to cancel."""
        raise NotImplementedError

    def put_message(self, remote: Remote, body: bytes, ends: list[End], flags: int = 0) -> None:
        """Send a message on a port. `flags`: more of them, where it goes back after a port that has left."""
        raise NotImplementedError

    def put_credit(self, number: int, credit: int) -> None:
        """Send credit to the other end of a port."""
        raise NotImplementedError

    def put_close(self, remote: Remote, code: int) -> None:
        """Send that a port is closed, with the error's code if it is for one, and forget the port."""
        raise NotImplementedError

    # Private

    def _take_in(self, remote: Remote, ports: list[MessagePort], body: bytes, free: bool) -> None:
        remote.end.receive(body, ports, NOBODY if free else None)
        if not free:
            remote.received(len(body))

    def _post_again(self, end: End, back: Remote) -> None:
        """Let what has come to an end that leaves be posted by the other one, which stays."""
        for body, ports, _ in end.take_all():
            back.post(body, [port.release() for port in ports if port.end is not None])

    def _number(self, end: End) -> Remote:
        # Odd: the even ones are the broker's. None is ever used again.
        self._last += 2
        remote = end.remote = self._remotes[self._last] = Remote(self, self._last, end)
        return remote

    def _arrived(self, number: int, used: int) -> End:
        end = self._loop.new_end()
        if number:
            end.remote = self._remotes[number] = Remote(self, number, end, used)
        else:
            end.is_over = True
        return end
