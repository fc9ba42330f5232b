"""One connection of a renderer: a transport, the wire, and the handshake on it."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol, cast

from mainbus import transports
from mainbus.address import Address
from mainbus.errors import BadMessage, ConnectionLost, LimitExceeded, RemoteProtocolError, from_wire
from mainbus.outbox import Outbox
from mainbus.quick import ReadCore
from mainbus.reading import read_in_place
from mainbus.wire import clone, messages
from mainbus.wire.connection import Connection
from mainbus.wire.packets import Head, Kind
from mainbus.wire.states import Role, State

HANDSHAKE_TIMEOUT = 10.0
"""Seconds that the broker has to answer a hello."""

log = logging.getLogger("mainbus")


class LinkOwner(Protocol):
    """Whose connection it is."""

    @property
    def outbox(self) -> Outbox:
        """What leaves on it once the broker has welcomed us."""

    def receive(self, head: Head, data: bytes, at: int) -> None:
        """Take a packet that came after the handshake."""

    def lost(self, link: Link, error: Exception | None) -> None:
        """Note, once, that a welcomed connection has ended, and why."""


class Link(ReadCore, asyncio.Protocol):
    """A connection from its first byte to its last.

    Args:
        owner: Whose it is.
    """

    __slots__ = ("_hello", "_is_lost", "_owner", "_welcome", "transport")

    def __init__(self, owner: LinkOwner) -> None:
        super().__init__(Connection(Role.RENDERER, messages.MAX_MESSAGE), owner.outbox)
        self.transport: asyncio.Transport | None = None
        self._hello = b""
        """What is said first; nothing once it was said."""
        self._owner = owner
        self._welcome: asyncio.Future[messages.Welcome] | None = None
        """Who waits for the broker's answer; None before somebody does, and again once the connection is started."""
        self._is_lost = False

    # Public

    async def open(self, address: Address, hello: messages.Hello) -> messages.Welcome:
        """Connect and say hello. Cancelling it closes the connection.

        Raises:
            OSError: Nobody can be reached at `address`, or answers there.
            MainbusError: The broker refused, by the name of its reason.
        """
        loop = asyncio.get_running_loop()
        welcome: asyncio.Future[messages.Welcome] = loop.create_future()
        self._welcome = welcome
        try:
            self._hello = messages.pack(hello)
            await transports.connect(address, lambda: self)
            timer = loop.call_later(HANDSHAKE_TIMEOUT, self._too_late)
            try:
                return await welcome
            finally:
                timer.cancel()
        except BaseException:
            # Nobody waits for it any more: an end of the connection that comes now is no error that nobody has seen.
            if not welcome.cancel() and not welcome.cancelled():
                welcome.exception()
            self.abort()
            raise

    def start(self, welcome: messages.Welcome) -> None:
        """Let the outbox write and scan what has arrived since the welcome."""
        assert self.transport is not None
        self.wire.max_message = welcome.limits.message
        self._welcome = None
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

    def no_memory(self) -> None:
        """Give it up, since there is no memory for what it has brought: that may be missed, and a loss is told."""
        # First: what has come of large messages is what there is to be freed.
        self.wire.fail("there is no memory for what has arrived")
        self.abort()
        log.error("gave up the connection: %s", self.wire.failure)

    # Callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello: now, and not a few turns of the loop later when `open` goes on."""
        # uvloop's transports do not derive from asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.wire.sent(Kind.HELLO)
        self.transport.write(self._hello)
        self._hello = b""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for this connection that it has ended."""
        self._is_lost = True
        if self._is_open:
            self._is_open = False
            self._owner.lost(self, self.wire.failure or exc)
        else:
            self._refuse(ConnectionLost("the broker closed the connection during the handshake"))

    def pause_writing(self) -> None:
        """Pass it on."""
        if self._is_open:
            self._outbox.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._is_open:
            self._outbox.resume_writing()

    # Private

    def _scan(self) -> None:
        wire = self.wire
        if self._is_open:
            receive = self._owner.receive
            for head, data, at in wire.packets():
                receive(head, data, at)
            # Who has awaited what came runs in this turn of the loop, and says more: it leaves right behind that.
            self._outbox.flush_soon()
        elif self._waiting is not None:
            # The rest is scanned by `start`, when the session knows who it is.
            found = wire.greeting()
            if found is not None:
                self._handshake(*found)
        if wire.failure is not None:
            self._fail(wire.failure)

    def _read_in_place(self) -> None:
        if self.transport is not None:
            read_in_place(self.wire, self, self.transport, failed=self.no_memory)

    def _handshake(self, head: Head, data: bytes, at: int) -> None:
        message = self.wire.message(head, data, at)
        assert message is not None, "no packet of a handshake comes in fragments"
        kind, value, body = message[0], message[5], message[8]
        try:
            if kind == Kind.WELCOME:
                welcome = messages.unpack(messages.Welcome, body)
                assert self._welcome is not None
                self._welcome.set_result(welcome)
            else:
                text = clone.decode(body, max_depth=1) if body else ""
                self._refuse(from_wire(value, None, str(text)))
        except (BadMessage, LimitExceeded) as error:
            self._refuse(RemoteProtocolError(f"the reason of a refusal does not decode: {error}"))
        except RemoteProtocolError as error:
            self._refuse(error)

    def _too_late(self) -> None:
        self._refuse(TimeoutError("it accepted the connection but never answered"))

    @property
    def _waiting(self) -> asyncio.Future[messages.Welcome] | None:
        """Who still waits for the broker's answer."""
        welcome = self._welcome
        return welcome if welcome is not None and not welcome.done() else None

    def _refuse(self, error: Exception) -> None:
        """Let whoever waits for the broker's answer know that it comes to nothing."""
        if (welcome := self._waiting) is not None:
            welcome.set_exception(error)

    def _fail(self, error: RemoteProtocolError) -> None:
        log.error("the broker broke the protocol: %s", error)
        self._refuse(error)
        if self.wire.state is not State.CLOSED or self._is_open:
            self.abort()
