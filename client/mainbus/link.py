"""One connection of a renderer: a transport, the wire, and the handshake on it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from mainbus import transports
from mainbus.address import Address
from mainbus.errors import BadMessage, ConnectionLost, LimitExceeded, RemoteProtocolError, from_wire
from mainbus.outbox import Outbox
from mainbus.wire import clone, messages
from mainbus.wire.connection import Connection
from mainbus.wire.packets import Head, Kind
from mainbus.wire.states import Role, State

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that the broker has to answer a hello."""

log = logging.getLogger("mainbus")


class Link(asyncio.Protocol):
    """A connection from its first byte to its last.

    Args:
        outbox: What leaves on it once the broker has welcomed us.
        receive: Called with each packet after the handshake.
        lost: Called once when a welcomed connection has ended, with the reason.
    """

    __slots__ = ("_hello", "_is_lost", "_is_open", "_lost", "_outbox", "_receive", "_welcome", "transport", "wire")

    def __init__(
        self,
        outbox: Outbox,
        receive: Callable[[Head, bytes, int], None],
        lost: Callable[[Link, Exception | None], None],
    ) -> None:
        self.wire = Connection(Role.RENDERER, messages.MAX_MESSAGE)
        self.transport: asyncio.Transport | None = None
        self._hello = b""
        """What is said first; nothing once it was said."""
        self._outbox = outbox
        self._receive = receive
        self._lost = lost
        self._welcome: asyncio.Future[messages.Welcome] = asyncio.get_running_loop().create_future()
        self._is_open = False
        self._is_lost = False

    # Public

    async def open(self, address: Address, hello: messages.Hello) -> messages.Welcome:
        """Connect and say hello. Cancelling it closes the connection.

        Raises:
            OSError: Nobody can be reached at `address`, or answers there.
            MainbusError: The broker refused, by the name of its reason.
        """
        try:
            self._hello = messages.pack(hello)
            await transports.connect(address, lambda: self)
            timer = self._welcome.get_loop().call_later(HANDSHAKE_TIMEOUT, self._too_late)
            try:
                return await self._welcome
            finally:
                timer.cancel()
        except BaseException:
            # Nobody waits for it any more: an end of the connection that comes now is no error that nobody has seen.
            if not self._welcome.cancel() and not self._welcome.cancelled():
                self._welcome.exception()
            self.abort()
            raise

    def start(self, welcome: messages.Welcome) -> None:
        """Let the outbox write and scan what has arrived since the welcome."""
        assert self.transport is not None
        self.wire.max_message = welcome.limits.message
        self._is_open = True
        if self._is_lost:
            # Before it was anybody's; whoever gets it now must not hear of its end while it is being made.
            asyncio.get_running_loop().call_soon(self.connection_lost, None)
        else:
            self._outbox.attach(self.transport)
            # The hello is the first packet of the connection; a lane counts it too.
            self._outbox.written = 1
        if self.wire.backlog or self.wire.failure is not None:
            self._scan()

    def close(self) -> None:
        """Close once what was written has left."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    # Callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello: now, and not a few turns of the loop later when `open` goes on."""
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.wire.sent(Kind.HELLO)
        self.transport.write(self._hello)
        self._hello = b""

    def data_received(self, data: bytes) -> None:
        """Scan what has arrived."""
        if not self._is_open:
            self.wire.feed(data)
        elif self._take_in(data):
            return
        self._scan()

    def _take_in(self, data: bytes) -> bool:
        """Take in what is common; False if there is more."""
        outbox = self._outbox
        calls, holds = outbox.calls, outbox.hold()
        try:
            left = self.wire.take_in(data, len(data), len(data))
        finally:
            if holds:
                # Answers leave at once: whoever asked waits for nothing else.
                outbox.let_go()
        if outbox.calls < calls:
            # Who has awaited what came runs in this turn of the loop, and says more: it leaves right behind that.
            outbox.flush_soon()
        return left < 0 and self.wire.failure is None

    def _scan(self) -> None:
        wire = self.wire
        if self._is_open:
            receive = self._receive
            for head, data, at in wire.packets():
                receive(head, data, at)
            # Who has awaited what came runs in this turn of the loop, and says more: it leaves right behind that.
            self._outbox.flush_soon()
        elif not self._welcome.done():
            # The rest is scanned by `start`, when the session knows who it is.
            found = wire.greeting()
            if found is not None:
                self._handshake(*found)
        if wire.failure is not None:
            self._fail(wire.failure)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for this connection that it has ended."""
        self._is_lost = True
        if self._is_open:
            self._is_open = False
            self._lost(self, self.wire.failure or exc)
        elif not self._welcome.done():
            self._welcome.set_exception(ConnectionLost("the broker closed the connection during the handshake"))

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._is_open:
            self._outbox.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._is_open:
            self._outbox.resume_writing()

    # Private

    def _handshake(self, head: Head, data: bytes, at: int) -> None:
        message = self.wire.message(head, data, at)
        assert message is not None, "no packet of a handshake comes in fragments"
        kind, value, body = message[0], message[5], message[8]
        try:
            if kind == Kind.WELCOME:
                self._welcome.set_result(messages.unpack(messages.Welcome, body))
            else:
                text = clone.decode(body, max_depth=1) if body else ""
                self._welcome.set_exception(from_wire(value, None, str(text)))
        except (BadMessage, LimitExceeded) as error:
            self._welcome.set_exception(RemoteProtocolError(f"the reason of a refusal does not decode: {error}"))
        except RemoteProtocolError as error:
            self._welcome.set_exception(error)

    def _too_late(self) -> None:
        if not self._welcome.done():
            self._welcome.set_exception(TimeoutError("it accepted the connection but never answered"))

    def _fail(self, error: RemoteProtocolError) -> None:
        log.error("the broker broke the protocol: %s", error)
        if not self._is_open and not self._welcome.done():
            self._welcome.set_exception(error)
        if self.wire.state is not State.CLOSED or self._is_open:
            self.abort()
