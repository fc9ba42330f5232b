"""The way from one end of a channel over a connection: its number there, its credit, and what waits for that."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from mainbus.errors import BadMessage, SendQueueFull
from mainbus.port_core import MAX_UNSENT
from mainbus.port_quick import RemoteCore
from mainbus.wire.credit import Sending, cost

if TYPE_CHECKING:
    from mainbus.direct_link import DirectLink
    from mainbus.port_end import End
    from mainbus.port_registry import PortRegistry
    from mainbus.routes import Route

_NEVER: Final = 1 << 62
_MOST_REFUSALS: Final = 16


class Remote(RemoteCore):
    """One end, as the broker knows it.

    Args:
        registry: The ports of the connection.
        number: The end's number there.
        end: The end.
        used: Bytes that were posted from this end, by whoever had it, and that were not taken.
    """

    __slots__ = (
        "_budget",
        "_closing",
        "_refusals",
        "_sending",
        "leaving",
        "number",
        "opened",
        "registry",
        "route",
    )

    def __init__(self, registry: PortRegistry, number: int, end: End, used: int = 0) -> None:
        super().__init__(end)
        self.registry = registry
        self.number = number
        self.opened = True
        """Whether the broker knows the number; False while the message that says it is leaving."""
        self.leaving = False
        """Whether the message with which the end leaves has begun to take what is held with it: nobody else may."""
        self.route: Route | None = None
        """Where packets wait for room on the connection; None before the first."""
        self._budget = registry.direct_after or _NEVER
        """What may still pass by the relay before it asks for a socket."""
        self._refusals = 0
        self._sending = Sending(used)
        self._closing = False

    # Public: this end

    def check_room(self, size: int) -> None:
        """Check that a message with a body of `size` bytes can be posted."""
        self.registry.check_size(size)
        if self._size >= MAX_UNSENT:
            raise SendQueueFull(MAX_UNSENT)

    def post(self, body: bytes, ends: list[End]) -> None:
        """Send a message, now or when what was posted before has been taken."""
        if ends:
            # Ports travel by the relay.
            self.leave_link()
        elif self.link is not None and not self._held and self.link.post(body):
            return
        if not self._held and self._may_send:
            self._send(body, ends)
        else:
            self._held.append((body, ends))
            self._size += cost(len(body))

    def give(self, credit: int) -> None:
        """Tell the other end what was taken here."""
        self.registry.put_credit(self.number, credit)

    def close(self, untaken: int = 0) -> None:
        """Close the channel, or confirm that it is closed, after what is held.

        Args:
            untaken: Credit for what has arrived and was not told as taken. Who is at the other end may close, too, and
                wait for it: what each holds must not wait for what nobody takes.
        """
        self._closing = True
        self._pump()
        if self._held and untaken:
            self.give(untaken)
            if self.link is not None:
                self.link.credit_all()

    def received(self, size: int) -> None:
        """Note that a message with a body of `size` bytes has arrived: if the end is closed, nobody takes it."""
        if self._closing:
            self.give(cost(size))
        self._count(cost(size))

    def blame(self) -> None:
        """Close the channel, and say that what came by it does not decode."""
        self.give_up(BadMessage.wire_code)

    def give_up(self, code: int = 0) -> None:
        """Close the channel at once, with the code of an error if that is the other end's fault."""
        self.lose()
        self.let_go()
        self.registry.put_close(self, code)

    def hurry(self) -> None:
        """Send all that is held, credit or not: the end is leaving, or the connection is about to end."""
        if not self.leaving:
            self.leave_link()
            for message in self.unsent():
                self.registry.put_message(self, *message)

    def unsent(self) -> Iterator[tuple[bytes, list[End]]]:
        """Yield all that is held, counted as sent."""
        while self._held:
            body, ends = self._next()
            self._sending.sent(len(body))
            yield body, ends

    def lose(self) -> None:
        """Drop what is held: nobody is there any more to take it."""
        while self._held:
            for end in self._next()[1]:
                end.lost()

    @property
    def keeps_up(self) -> bool:
        """Whether what was posted has left, and is taken at the other end."""
        if self._held:
            return False
        link = self.link
        return self._sending.may_send if link is None or link.has_left else link.may_send

    # Public: the socket past the broker

    @property
    def may_switch(self) -> bool:
        """Whether it may become direct now."""
        end = self.end
        return (
            self.opened
            and self.link is None
            and not (self.leaving or self._closing or end.moving or end.is_over or end.apart)
            # Those wait for the relay's credit, and cannot leave another way.
            and not any(ends for _, ends in self._held)
        )

    def switch(self, link: DirectLink) -> None:
        """Post to a socket from now on; what is posted waits until the other end does so, too."""
        self.link = link
        link.serve(self)
        self._refusals = 0

    def leave_link(self) -> None:
        """Post by the relay again, what is held for want of the socket's credit first."""
        if self.link is not None and not self.link.has_left:
            self.link.leave()
            self._pump()

    def left(self, link: DirectLink) -> None:
        """Note that nothing more comes by the socket."""
        if self.link is link:
            self.link = None
            self._budget = self.registry.direct_after or _NEVER
            self.go_on()

    def refused(self) -> None:
        """Note that nothing has come of a socket: the next one is asked for later."""
        self.link = None
        self._refusals = min(self._refusals + 1, _MOST_REFUSALS)
        self._budget = (self.registry.direct_after or _NEVER) << self._refusals
        self.go_on()

    def let_go(self) -> None:
        """Close the socket with the port, behind what was posted there."""
        if self.link is not None:
            link, self.link = self.link, None
            link.close()

    def go_on(self) -> None:
        """Look again whether what is held may leave."""
        self._pump()
        self.end.wake()

    # Public: the connection

    def ended(self) -> None:
        """Note that the other end is gone."""
        self.lose()
        self.end.end()
        if self._closing:
            self._pump()

    def open(self) -> None:
        """Note that the broker knows the number."""
        self.opened = True
        self._pump()
        self.end.wake()

    def credited(self, credit: int) -> None:
        """Take the credit that the other end has given."""
        self._sending.credited(credit)
        self._pump()
        self.end.wake()

    # Private

    @property
    def _may_send(self) -> bool:
        link = self.link
        if link is not None and not link.has_left:
            return link.may_send
        return self.opened and not self.leaving and self._sending.may_send

    def _next(self) -> tuple[bytes, list[End]]:
        body, ends = self._held.popleft()
        self._size -= cost(len(body))
        return body, ends

    def _send(self, body: bytes, ends: list[End]) -> None:
        if self.link is not None and self.link.post(body):
            return
        self._sending.sent(len(body))
        self.registry.put_message(self, body, ends)
        self._count(cost(len(body)))

    def _count(self, size: int) -> None:
        """Count what passes by the relay; behind so much of it, a port asks for a socket."""
        self._budget -= size
        if self._budget <= 0 and self.may_switch:
            self._budget = _NEVER
            self.registry.ask_direct(self)

    def _pump(self) -> None:
        if self._held and self.link is not None:
            self._size -= self.link.post_held(self._held)
        while self._held and self._may_send:
            self._send(*self._next())
        if self._closing and self.opened and not self._held:
            self.let_go()
            self.registry.put_close(self, 0)
