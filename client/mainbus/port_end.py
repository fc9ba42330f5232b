"""One end of a channel: what has arrived at it, and the way to the other end. The `MessagePort` is its owner's handle.

Two ends of one process are entangled directly. Once one of them leaves, both have a number at the broker, which knows
where each end is (docs/reference/protocol.md, "Ports"). A transfer takes the end away from its handle; the end itself
stays until the broker says that nothing more will come here, and sends after it what has come.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from mainbus.errors import BadMessage, LimitExceeded, SendQueueFull
from mainbus.inbox import Inbox
from mainbus.port_core import TURN
from mainbus.port_quick import EndCore
from mainbus.wire import clone
from mainbus.wire.credit import WINDOW, Receiving, cost

if TYPE_CHECKING:
    from mainbus.direct_link import DirectLink
    from mainbus.port_loop import PortLoop
    from mainbus.port_registry import PortRegistry
    from mainbus.ports import MessagePort

MAX_UNTAKEN: Final = 64 * 1024 * 1024
"""Bytes that may wait for an end of the same process that takes nothing."""

_RUNNING: Final = 256
"""Tasks of coroutine listeners that one port may have under way."""


class Payee(Protocol):
    """Who gets the credit for a message when it is taken."""

    def taken(self, size: int) -> None:
        """Count a message with a body of `size` bytes out."""


class Nobody:
    """The payee of a message that came past the broker to a former owner of its port, and by the broker to this one."""

    def taken(self, size: int) -> None:
        """Do nothing: who has posted it posts another way now."""


NOBODY: Final = Nobody()

Posted: TypeAlias = "tuple[bytes, list[MessagePort], Payee | None]"
"""A message as it crosses: its body, the ports that came with it, and who is credited for it if not the relay."""

log = logging.getLogger("mainbus")


class End(EndCore):
    """One end of a channel.

    Args:
        loop: What the ports of one loop share.
    """

    __slots__ = (
        "__weakref__",
        "_handle",
        "_receiving",
        "_wakers",
        "finished",
        "moving",
        "other",
    )

    def __init__(self, loop: PortLoop) -> None:
        super().__init__(loop)
        self.other: End | None = None
        """The other end, while it is in this process too."""
        self.finished = False
        """Whether all that had arrived was taken, and everybody was told of the end."""
        self.moving = False
        """Whether it was transferred: it keeps what still arrives, for its next owner."""
        self._handle: weakref.ref[MessagePort] | None = None
        self._receiving = Receiving()
        self._wakers: list[asyncio.Future[None]] = []

    # Public: the owner's side

    def own(self, handle: MessagePort) -> None:
        """Take a handle: it is kept alive from `start` on, and dropping it before that closes the channel."""
        self._handle = weakref.ref(handle)
        self._inbox = None
        # A turn that was scheduled for the former owner may never come.
        self.started = self.pulled = self.moving = self._scheduled = False

    def start(self) -> None:
        """Let what has arrived be taken."""
        if not self.started:
            self.started = True
            self._kept = self._handle() if self._handle is not None else None
            self.schedule()

    @property
    def registry(self) -> PortRegistry | None:
        """The ports of the connection that leads to the other end, if one does."""
        return self.remote.registry if self.remote is not None else None

    @property
    def link(self) -> DirectLink | None:
        """The socket that leads to the other end past the broker, if one does."""
        return self.remote.link if self.remote is not None else None

    @property
    def may_post(self) -> bool:
        """Whether anybody can get what is posted."""
        return not self.is_shut and not self.is_over

    @property
    def may_leave(self) -> bool:
        """Whether it can be transferred: it was not closed, and its owner not told that it is over."""
        return not self.is_shut and not self.finished

    def check_room(self, size: int) -> None:
        """Check that a message with a body of `size` bytes can be posted.

        Raises:
            MessageTooLarge: It is longer than the broker takes.
            SendQueueFull: Too much waits to be taken at the other end, or to leave.
        """
        if self.remote is not None:
            self.remote.check_room(size)
        elif self.other is not None and self.other.size >= MAX_UNTAKEN:
            raise SendQueueFull(MAX_UNTAKEN)

    def post(self, body: bytes, ends: list[End]) -> None:
        """Post a message, and the ends that go along."""
        if self.remote is not None:
            self.remote.post(body, ends)
        elif self.other in ends:
            # To itself, where nobody will ever be.
            for end in ends:
                end.lost()
        elif self.other is not None:
            self.other.receive(body, [self.loop.handle(end) for end in ends])

    def close(self) -> None:
        """Close the channel; what has arrived is still taken, then both owners are told."""
        if self.is_shut or self.finished:
            return
        if self.link is not None:
            self.link.take_rest()
        self.is_shut = True
        other, remote = self.other, self.remote
        self.other = self.remote = None
        if other is not None:
            other.end()
        elif remote is not None:
            remote.close(self.owed() + self.size)
        self.wake()
        self.schedule()

    def dropped(self) -> None:
        """Close the channel: nobody can take what arrives here any more."""
        if not self.moving and not self.finished:
            self.close()
            self._forget()
            self.finished = True

    def detach(self) -> None:
        """Take the end from its handle: it is about to leave."""
        self.moving = True
        self._handle = self._kept = None
        self.wake()

    def lost(self) -> None:
        """Close the channel: this end was about to leave, and nobody will ever get it."""
        self.moving = False
        self.dropped()

    def owed(self) -> int:
        """Return the credit for what was taken here and not told: the next owner counts from zero."""
        return self._receiving.rest()

    async def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait until `done()`, asked whenever anything has changed. Safe to cancel."""
        while not done():
            waker = asyncio.get_running_loop().create_future()
            self._wakers.append(waker)
            try:
                await waker
            finally:
                if waker in self._wakers:
                    self._wakers.remove(waker)

    @property
    def keeps_up(self) -> bool:
        """Whether what was posted has left, and the other end takes it."""
        if self.remote is not None:
            return self.remote.keeps_up
        return self.other is None or self.other.size < WINDOW

    # Public: the other end's side

    def receive(self, body: bytes, ports: list[MessagePort], payee: Payee | None = None) -> None:
        """Take in a message. `payee`: who is credited for it when it is taken; None if it came by the relay."""
        self.arrive(body, ports, payee)
        if self.started:
            self.schedule()

    def arrive(self, body: bytes, ports: list[MessagePort], payee: Payee | None = None) -> None:
        """Take in a message, as `receive`; `run` is called behind the last of what arrives together."""
        if not self.is_shut:
            self.queue.append((body, ports, payee))
            if payee is not None:
                self.apart += 1
            self.size += cost(len(body))

    def run(self) -> None:
        """Dispatch what has arrived, now: no code of the user's may be running."""
        handle = self._handle() if self.started and not self._scheduled and self._handle is not None else None
        if handle is not None:
            self._dispatch(handle)

    def end(self) -> None:
        """Note that the other end is gone, after all that has arrived."""
        self.is_over = True
        self.other = None
        self.wake()
        self.schedule()

    # Public: whoever takes messages

    def take(self) -> tuple[object, list[MessagePort]] | None:
        """Return the next message, decoded; None if there is none or, with the channel closed then, it is a bad one."""
        if not self.queue:
            return None
        posted = self.queue.popleft()
        self.taken(posted)
        body, ports, _ = posted
        try:
            return clone.decode(body), ports
        except (BadMessage, LimitExceeded) as fault:
            self.spoilt(fault)
            return None

    def take_all(self) -> list[Posted]:
        """Return all that has arrived, as it came: it goes after the end to its next owner."""
        messages = list(self.queue)
        self._forget()
        return messages

    def taken(self, posted: Posted) -> None:
        """Count a message out: its sender may go on."""
        body, _, payee = posted
        size = len(body)
        self.size -= cost(size)
        if payee is not None:
            self.apart -= 1
            payee.taken(size)
        elif self.remote is not None:
            credit = self._receiving.taken(size)
            if credit:
                self.remote.give(credit)
        elif self.other is not None:
            self.other.wake()

    def spoilt(self, fault: Exception) -> None:
        """Close the channel: a message that came by it does not decode."""
        log.warning("a message on a port does not decode: %s", fault)
        self._forget()
        if self.remote is not None:
            self.remote.blame()
        self.close()

    def finish(self) -> bool:
        """Note that all that has arrived was taken; whether this was the end of the channel."""
        if self.queue or self.finished or not (self.is_shut or self.is_over):
            return False
        self.finished = True
        if self.remote is not None:
            # It was closed by the other end: now its number here is free.
            self.remote.close()
            self.remote = None
        return True

    def schedule(self) -> None:
        """Dispatch what has arrived, in another turn of the loop."""
        handle = self._handle() if self.started and not self._scheduled and self._handle is not None else None
        if handle is not None:
            self._scheduled = True
            self.loop.call_soon(self._dispatch, handle)

    def wake(self) -> None:
        """Let all that wait look again."""
        wakers, self._wakers = self._wakers, []
        for waker in wakers:
            if not waker.done():
                waker.set_result(None)

    # Private

    def _forget(self) -> None:
        self.queue.clear()
        self.size = self.apart = 0

    def _dispatch(self, handle: MessagePort) -> bool:
        if self._handle is None or self._handle() is not handle:
            # The port was transferred since.
            return True
        self._scheduled = False
        if self.pulled:
            self.wake()
            if self.is_shut or self.is_over:
                # The rest waits for an iteration: if nobody has the port any more, it waits for nothing.
                self._kept = None
            if self.finish():
                handle.closed()
            return True
        if self._inbox is None:
            self._inbox = Inbox(self.loop.loop, _RUNNING)
        quick = self.dispatch_quickly(handle, TURN)
        if quick and self._kept is not handle:
            # A listener has transferred the port: the rest is the next owner's.
            return True
        for _ in range(TURN - quick):
            if not self.queue:
                break
            if not self._inbox.clear:
                self._wait_for_turn(self._inbox, handle)
                return True
            message = self.take()
            if message is None:
                break
            handle.dispatch(self._inbox, *message)
            if self._kept is not handle:
                # As above.
                return True
        if self.queue:
            self.schedule()
        elif (self.is_shut or self.is_over) and self.finish():
            self._kept = None
            handle.closed()
        return True

    def _wait_for_turn(self, inbox: Inbox, handle: MessagePort) -> None:
        """Come back when the listeners before have started."""
        if not self._scheduled:
            # Two of them would wait for each other for ever. One is scheduled if something has arrived meanwhile.
            self._scheduled = True
            inbox.add(partial(self._dispatch, handle), 0)
