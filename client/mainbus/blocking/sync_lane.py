"""The lane of a renderer whose loop never stands still: `send_sync` of any number of threads at once.

A call leaves on the main connection, so it keeps its place among what all threads send; only its answer comes on the
lane. The broker must know the lane by then: until it does, what is sent to the main process waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import cast

from mainbus import transports
from mainbus.blocking.waiter import Waiter
from mainbus.calls import error_of
from mainbus.errors import (
    BadMessage,
    ConnectionLost,
    InvokeTimeout,
    LimitExceeded,
    MainbusError,
    MessageTooLarge,
    from_wire,
)
from mainbus.link import Link
from mainbus.routes import Entry
from mainbus.session import Session
from mainbus.timeouts import milliseconds
from mainbus.wire import clone, messages, packets
from mainbus.wire.connection import Connection
from mainbus.wire.packets import HEADER_SIZE, MAIN, MAX_U32, Kind, Message, build
from mainbus.wire.pieces import Body, Packet
from mainbus.wire.states import Role

log = logging.getLogger("mainbus")


class SyncCall:
    """One `send_sync` that waits for its answer."""

    __slots__ = ("body", "channel", "frame", "raw_channel", "timeout", "timer", "waiter")

    def __init__(self, channel: str, raw_channel: bytes, body: Body, timeout: float, frame: int = 0) -> None:
        self.channel = channel
        self.raw_channel = raw_channel
        self.body = body
        self.timeout = timeout
        self.frame = frame
        self.waiter: Waiter
        self.timer: asyncio.TimerHandle


class SyncLane(asyncio.Protocol):
    """The second connection, opened by the first call. Belongs to the reader thread.

    Args:
        session: The session that it belongs to.
        link: The session's connection, to whose end it lives.
        former: A lane of that connection that was lost.
    """

    def __init__(self, session: Session, link: Link, former: SyncLane | None) -> None:
        assert session.welcome is not None
        self.link = link
        self._session = session
        self._id = session.welcome.id
        self._nonce: bytes = former._nonce if former is not None else session.welcome.lane
        self._limits = session.welcome.limits
        self._wire = Connection(Role.RENDERER, self._limits.message)
        self._calls: dict[int, SyncCall] = {}
        # What a lost lane has asked may still be on its way: its answer must be none to a call of this one.
        self._last: int = former._last if former is not None else 0
        self._transport: asyncio.Transport | None = None
        self._held: list[Entry] | None = []
        """The calls that wait until the broker knows this lane; None when it does."""
        self._is_over = False
        self._opening: asyncio.Task[None] | None = None
        self._lost = session.loop.create_future()

    # Public

    def call(self, call: SyncCall) -> None:
        """Start a call, in its place among all that is sent to the main process.

        Raises:
            MessageTooLarge: Its arguments are longer than the broker takes.
        """
        if len(call.body) > self._limits.message:
            raise MessageTooLarge(len(call.body), self._limits.message)
        self._last = request = self._last % MAX_U32 + 1
        self._calls[request] = call
        call.timer = self._session.loop.call_later(call.timeout, self._expire, request)
        packed, size = self._in_its_turn(request), HEADER_SIZE + len(call.body)
        if self._held is None:
            self._session.main.put(packed, size)
            return
        self._held.append(self._session.main.hold(packed, size))
        if self._opening is None and self._transport is None:
            self._opening = self._session.loop.create_task(self._open(), name="mainbus lane")

    def fail(self, error: MainbusError) -> None:
        """Fail all calls and end the connection."""
        self._is_over = True
        for request in list(self._calls):
            self._settle(request).fail(error)
        self._let_go()
        if self._opening is not None:
            self._opening.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until a connection that was ended is gone."""
        if self._opening is not None:
            await asyncio.wait([self._opening])
        if self._transport is not None:
            await self._lost

    @property
    def is_lost(self) -> bool:
        """Whether it can carry no more calls."""
        return self._is_over

    # Callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say whose lane it is."""
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._wire.sent(Kind.LANE)
        self._transport.write(messages.pack(messages.LaneHello(id=self._id, nonce=self._nonce)))

    def data_received(self, data: bytes) -> None:
        """Take answers."""
        self._wire.feed(data)
        for head, buffer, at in self._wire.packets():
            message = self._wire.message(head, buffer, at)
            if message is not None:
                self._take(message)
        if self._wire.failure is not None:
            log.error("the broker broke the protocol on a lane: %s", self._wire.failure)
            self.fail(self._wire.failure)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what still waits."""
        self._lost.set_result(None)
        self.fail(ConnectionLost(f"connection to {self._session.address} lost"))

    # Private

    def _in_its_turn(self, request: int) -> Iterator[Packet]:
        """Yield the packets of a call, unless it was given up before the first could leave."""
        call = self._calls.get(request)
        if call is not None:
            packet = packets.message(
                Kind.SYNC,
                MAIN,
                request,
                call.body,
                frame=call.frame,
                value=milliseconds(call.timeout),
                channel=call.raw_channel,
            )
            yield from (packet,) if isinstance(packet, bytes) else packet

    def _let_go(self) -> None:
        """Let the calls leave that have waited for this lane, and what is behind them."""
        held, self._held = self._held or (), None
        for entry in held:
            self._session.main.let_go(entry)

    async def _open(self) -> None:
        try:
            await transports.connect(self._session.address, lambda: self)
        except (OSError, MainbusError) as error:
            self._lost.set_result(None)
            self.fail(ConnectionLost(f"no second connection to {self._session.address}: {error}"))
        finally:
            self._opening = None

    def _take(self, message: Message) -> None:
        kind, _, _, request, _, value, _, _, body = message
        if kind == Kind.LANE:
            self._nonce = messages.unpack(messages.LaneWelcome, body).nonce
            assert self._transport is not None
            # Nothing follows on the lane; that the nonce has come is what it says.
            self._transport.write(build(Kind.REPEAT, value=self._session.outbox.last_number + 1))
            self._let_go()
        elif kind not in (Kind.RESULT, Kind.ERROR):
            self.fail(from_wire(value, None, str(clone.decode(body, max_depth=1)) if body else ""))
        elif request in self._calls:
            # Else it gave up: the answer comes too late.
            call = self._calls[request]
            self._bring(self._settle(request), call.channel, kind, value, body)

    def _bring(self, waiter: Waiter, channel: str, kind: int, value: int, body: Body) -> None:
        try:
            if kind == Kind.ERROR:
                waiter.fail(error_of(channel, value, body, self._limits.depth))
            else:
                waiter.succeed(clone.decode(body, max_depth=self._limits.depth))
        except (BadMessage, LimitExceeded) as error:
            waiter.fail(BadMessage(f"the answer to {channel!r} does not decode: {error}"))
        except MemoryError:
            waiter.fail(MemoryError(f"there is no memory for the answer to {channel!r}"))

    def _expire(self, request: int) -> None:
        call = self._calls[request]
        error = InvokeTimeout(call.channel, call.timeout)
        self._settle(request).fail(error)
        if self._held is not None and not self._calls:
            # Nobody needs it, and it holds up what others send.
            self.fail(error)

    def _settle(self, request: int) -> Waiter:
        call = self._calls.pop(request)
        call.timer.cancel()
        return call.waiter
