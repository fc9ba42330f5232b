"""One channel's own socket between two renderers, while its port is direct.

What is posted goes either over the broker (the relay) or over this socket, never both ways at once, and whoever
receives knows where it goes on:

- to the socket: the broker passes each side's PORT_SWITCH on when both have sent one. Nothing more comes by the relay
  before the socket ends, and what does come there waits here (`behind`).
- back: each side may go back alone (`leave`). PORT_SWITCH is the last that it writes to the socket; what it posts from
  then on goes over the relay. Who reads that goes back, too.

So nothing is ever on its way by both at once in an order that nobody knows. A socket that ends without a word, since
its other end was killed, counts as gone back: the broker says whether that was the end of the channel.

Nobody but the two ends sees what is said here, so each holds the other one to it. Credit is for what was sent and has
left. When the relay speaks for the other side that one has gone back, or is gone: it gets no more credit and has
`PATIENCE` to end the socket, or none if its connection to the broker has ended, since then nothing of it is under way.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from mainbus.outbox import Outbox
from mainbus.port_core import TURN
from mainbus.port_quick import TAKER, LinkCore
from mainbus.routes import Route
from mainbus.wire.connection import Connection
from mainbus.wire.credit import DIRECT_OVERHEAD, WINDOW
from mainbus.wire.packets import CONTINUES, HEADER_SIZE, MAIN, MAX_FRAGMENT, Kind, build, fragments
from mainbus.wire.states import Role, State

if TYPE_CHECKING:
    from mainbus.port_remote import Remote
    from mainbus.wire.packets import Head

PATIENCE: Final = 30.0
"""Seconds in which who has no more business on a socket must end it, or read what it was sent: as long as the broker
waits for a renderer that reads nothing, unless it is told otherwise."""

MOST_WAITING: Final = 8 * WINDOW
"""Bytes that may wait to be written when credit is given: who obeys has had no more than a window before it reads."""

_ALL: Final = 1 << 30
_CHUNK: Final = 256 * 1024
_MESSAGE: Final = int(Kind.PORT_MESSAGE)
_CREDIT: Final = int(Kind.PORT_CREDIT)
_CLOSE: Final = int(Kind.PORT_CLOSE)

log = logging.getLogger("mainbus")


class DirectLink(LinkCore, asyncio.Protocol):
    """The socket of one direct port.

    Args:
        sock: The connected socket; it is the transport's to close.
        max_message: Bytes that the body of one message may have.
        gone: Called when it is closed.
    """

    __slots__ = (
        "_attached",
        "_gone",
        "_is_behind",
        "_is_ended",
        "_loop",
        "_sock",
        "_timer",
        "_transport",
        "_wire",
        "behind",
    )

    _outbox: Outbox
    _route: Route

    def __init__(self, sock: socket.socket, max_message: int, gone: Callable[[DirectLink], None]) -> None:
        self._loop = asyncio.get_running_loop()
        outbox = Outbox(self._loop, 0)
        super().__init__(outbox, Route(outbox, 0), max_message)
        self.behind: deque[Callable[[], None]] = deque()
        """What has come by the relay, and comes after all that is to be read here."""
        self._is_behind = False
        """Whether a turn of the loop has left something of what was read for the next."""
        self._is_ended = False
        """Whether the relay has said that the other side is closed."""
        self._timer: asyncio.TimerHandle | None = None
        self._sock = sock
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._wire = Connection(Role.RENDERER, max_message, State.DIRECT)
        self._attached = False
        """Whether anything was written, or may be."""

    # Public: its port

    def serve(self, remote: Remote) -> None:
        """Be the socket of a port; nothing is read before the switch."""
        self._remote = remote
        if self._transport is not None:
            self._transport.pause_reading()

    def open(self) -> None:
        """Read and write from now on: the other side has switched, too."""
        self.is_open = True
        if self._transport is not None and not self.is_drained:
            self._attach()
            self._transport.resume_reading()
            self._wire.owner, self._wire.taker = self, TAKER
            self._read(b"", TURN)

    @property
    def may_send(self) -> bool:
        """Whether a message may be written now."""
        return self.is_open and self._used < WINDOW

    def post(self, body: bytes) -> bool:
        """Send a message; False if that is not to be done here, or not now."""
        if self.has_left or not self.may_send:
            return False
        size = len(body)
        self._used += DIRECT_OVERHEAD + size
        packet = build(_MESSAGE, body=body) if size <= MAX_FRAGMENT else fragments(_MESSAGE, MAIN, 0, body)
        self._route.put(packet, DIRECT_OVERHEAD + size)
        return True

    def taken(self, size: int) -> None:
        """Count a message with a body of `size` bytes out: its sender may go on."""
        self._owed += DIRECT_OVERHEAD + size
        # As `Receiving` has it.
        if self._owed >= WINDOW // 2:
            self.settle()

    def settle(self) -> None:
        """Give the credit for what was taken."""
        owed, self._owed = self._owed, 0
        self._credit(owed)

    def credit_all(self) -> None:
        """Give the credit for all that has come, taken or not: nobody will take it."""
        self._owed = 0
        self._credit(self._untaken)

    def follow(self, call: Callable[[], None], *, is_end: bool = False, is_cut: bool = False) -> None:
        """Do what the relay has brought from the other side, behind all that this one has written here.

        Args:
            call: Does it.
            is_end: Whether it is that the other side is closed.
            is_cut: Whether that is since its connection to the broker has ended: what it has written lies here.
        """
        self.behind.append(call)
        self._is_ended |= is_end
        if self._remote is not None:
            # Back, too: what it may write is what it has credit for.
            self._remote.leave_link()
        if is_cut:
            self._shut(socket.SHUT_RD)
        elif self._timer is None:
            self._watch()

    def take_rest(self) -> None:
        """Let what was read arrive, whatever the turn allows: its port is about to be closed."""
        wire = self._wire
        if self.is_open and not self.is_drained and wire.backlog:
            # A listener may have asked for this: none is called now.
            wire.taker = None
            self._scan(self._remote, _ALL)
            wire.taker = TAKER

    def leave(self) -> None:
        """Go back to the relay: this is the last that is written here."""
        if not self.has_left:
            self.has_left = True
            self._say(build(Kind.PORT_SWITCH))
            self._finish()

    def close(self) -> None:
        """End, since the port is closed or has no use for it: the other side is told, behind what was written."""
        self._remote = None
        self.behind.clear()
        if not self.has_left:
            self.has_left = True
            self._say(build(Kind.PORT_CLOSE))
        self.is_drained = True
        self._finish()

    def abort(self) -> None:
        """End at once."""
        self._remote = None
        self.behind.clear()
        self.has_left = self.is_drained = True
        self._outbox.detach()
        if self._transport is not None:
            # A child of this process may have the descriptor, too.
            self._shut(socket.SHUT_RDWR)
            self._transport.abort()

    async def flushed(self) -> None:
        """Wait until the kernel has all that was written, or never will. Safe to cancel."""
        await self._outbox.wait_until(lambda: self._transport is None or not self._attached or self._outbox.idle)

    # Callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read what has arrived."""
        if self.is_drained:
            return
        if self.is_open:
            # Behind what the turn before has left, all of it: nothing is to pile up.
            self._read(data, _ALL if self._is_behind else TURN)
        else:
            self._wire.feed(data)

    def eof_received(self) -> bool:
        """Go back to the relay."""
        self._read_on(_ALL)
        self._drained()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Read what the other side had written before it was gone: a failed write ends a transport at once."""
        if self.is_open and not self.is_drained:
            self._read_on(_ALL)
            self._read_rest()
        self.has_left = True
        self._drained()
        self._outbox.detach()
        self._transport = None
        self._wire.owner = self._wire.taker = None
        if self._timer is not None:
            self._timer.cancel()
        self._outbox.wake()
        self._gone(self)

    def pause_writing(self) -> None:
        """Pass it on."""
        self._outbox.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._outbox.resume_writing()

    # Private: what is written

    def _attach(self) -> None:
        if self._transport is not None and not self._attached:
            self._attached = True
            self._outbox.attach(self._transport)

    def _say(self, packet: bytes) -> None:
        """Write a packet behind all messages."""
        self._attach()
        self._route.put(packet, len(packet))

    def _credit(self, credit: int) -> None:
        credit = min(credit, self._untaken)
        if self.has_left or not credit:
            return
        self._untaken -= credit
        self._outbox.put(build(Kind.PORT_CREDIT, MAIN, value=credit))
        if self._outbox.queued > MOST_WAITING:
            # Not now: somebody is taking a message.
            self._loop.call_soon(self._fault, "its other end writes and does not read")

    def _finish(self) -> None:
        """Close when all was read and written."""
        if not (self.has_left and self.is_drained) or self._transport is None or self._transport.is_closing():
            return
        for entry in self._route.take():
            for packet in entry.packets:
                self._outbox.put_large(packet)
        self._outbox.hand_over()
        self._outbox.detach()
        # What sits in the transport still leaves.
        self._transport.close()
        if self._transport.get_write_buffer_size():
            self._watch()

    # Private: who has no more business here

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(PATIENCE, self._look)

    def _look(self) -> None:
        remote = self._remote
        log.warning("a direct port was cut off: its other end has no more business there, and has not ended the socket")
        if self.is_drained or remote is None:
            self.abort()
        elif self._is_ended:
            self._shut(socket.SHUT_RD)
        else:
            # What it has not said, if there is anything, comes before what the relay has brought: nobody gets half.
            remote.give_up()
            remote.end.close()
            self.abort()

    def _shut(self, how: int) -> None:
        try:
            self._sock.shutdown(how)
        except OSError:
            # It is closed, at either end.
            return

    # Private: what is read

    def _read_rest(self) -> None:
        try:
            # The other end may go on writing; what it has written stays.
            self._sock.shutdown(socket.SHUT_RD)
            while not self.is_drained and (data := self._sock.recv(_CHUNK)):
                self._read(data, _ALL)
        except OSError:
            # Empty, or reset by the other side: either is its end.
            return

    def _read_on(self, count: int = TURN) -> None:
        if self._is_behind and not self.is_drained:
            self._read(b"", count)

    def _read(self, data: bytes, count: int) -> None:
        """Serve what has come, the rest of the turn before in front, `count` packets at most."""
        outbox = self._outbox
        handed, holds = outbox.handed, outbox.hold()
        try:
            self._serve(data, count)
        finally:
            if holds:
                # What a listener answers leaves now, not in another turn of the loop: somebody waits for it.
                outbox.let_go()
        if outbox.handed == handed:
            # Who has awaited what came runs in this turn of the loop, and says more: it leaves right behind that.
            outbox.flush_soon()
        if self._is_behind:
            self._loop.call_soon(self._read_on)

    def _serve(self, data: bytes, count: int) -> None:
        remote, wire = self._remote, self._wire
        left = wire.take_in(data, count, len(data)) if data else count
        if left > 0:
            self._scan(remote, left)
        if remote is not None and remote.end.queue:
            remote.end.run()
        if left >= 0:
            if wire.failure is not None and not self.is_drained:
                self._fault(str(wire.failure))
            self._is_behind = wire.backlog and not self.is_drained

    def _scan(self, remote: Remote | None, count: int) -> None:
        wire = self._wire
        for head, data, at in wire.packets(count):
            length, kind, flags, names, channels, _, _, _, ports = head
            if kind != _MESSAGE or flags or ports or remote is None or self._untaken >= WINDOW or wire.is_inside:
                self._receive(head, data, at)
                if self.is_drained:
                    break
            else:
                # What nearly all of them are: a whole message.
                self._take_in(remote, data[at + HEADER_SIZE + names + channels : at + length])

    def _receive(self, head: Head, data: bytes, at: int) -> None:
        kind = head[1]
        if kind == _MESSAGE and not head[2] & CONTINUES and (self._untaken >= WINDOW or head[8]):
            self._wire.fail("a message without credit, or with ports")
            return
        message = self._wire.message(head, data, at)
        if message is None or self._remote is None:
            return
        if kind == _MESSAGE:
            self._take_in(self._remote, bytes(message[8]))
        elif kind == _CREDIT:
            self._credited(self._remote, message[5])
        else:
            self._drained(is_closed=kind == _CLOSE)

    def _credited(self, remote: Remote, credit: int) -> None:
        outbox, used = self._outbox, self._used - credit
        # What has not left nobody can have taken. (A window more: what waits is not messages alone.)
        if used < 0 or used + WINDOW < max(outbox.queued, outbox.held):
            self._wire.fail("credit for what was never sent, or has not left")
            return
        self._used = used
        remote.go_on()

    def _take_in(self, remote: Remote, body: bytes) -> None:
        self._untaken += DIRECT_OVERHEAD + len(body)
        if remote.end.is_shut:
            # Nobody takes it any more; what each side holds must not wait for that.
            self.taken(len(body))
        else:
            remote.end.arrive(body, [], self)

    def _drained(self, *, is_closed: bool = False) -> None:
        """Go on with what has come by the relay."""
        if self.is_drained:
            return
        self.is_drained = True
        remote = self._remote
        self.leave()
        if remote is not None:
            remote.left(self)
            if is_closed:
                remote.ended()
        while self.behind:
            self.behind.popleft()()
        self._remote = None
        self._finish()

    def _fault(self, reason: str) -> None:
        remote = self._remote
        if remote is not None:
            log.warning("a direct port was closed: %s", reason)
            remote.blame()
            remote.end.close()
        self.abort()
