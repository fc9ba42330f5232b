"""A renderer's session: one connection at a time, its pending calls and routes, and coming back after a loss."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack

from mainbus.address import Address
from mainbus.calls import Calls
from mainbus.errors import (
    ConnectionLost,
    LocalProtocolError,
    MainbusError,
    MessageTooLarge,
    NoSuchRenderer,
    RemoteProtocolError,
    ReplyNeverSent,
    SendQueueFull,
)
from mainbus.frame_table import FrameTable
from mainbus.hosting import Hosting
from mainbus.link import Link
from mainbus.outbox import Outbox
from mainbus.port_end import End
from mainbus.receiver import Receiver
from mainbus.released import again, refused, released
from mainbus.renderer_ports import RendererPorts
from mainbus.reply import Reply
from mainbus.route_table import BROADCASTS, RouteTable
from mainbus.routes import Entry, Route
from mainbus.streams import StreamReply
from mainbus.timeouts import milliseconds
from mainbus.wire import packets
from mainbus.wire.connection import Message, text_of
from mainbus.wire.messages import Hello, Welcome, WireLimits
from mainbus.wire.packets import BY_NAME, CONTINUES, HEADER, HEADER_SIZE, MAIN, MAX_U32, MORE, Fields, Head, Kind, build
from mainbus.wire.port_table import without_ports

if TYPE_CHECKING:
    from mainbus.lane import Lane

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait in this process because their target is paused or the connection is gone."""

RETRY_FIRST: Final = 0.05
RETRY_LAST: Final = 5.0
"""Seconds between attempts to reconnect: from the first to the last, doubled each time and jittered."""

GOODBYE_TIMEOUT: Final = 5.0
_SURVIVORS: Final = frozenset(
    {Kind.SEND, Kind.POST, Kind.INVOKE, Kind.STREAM, Kind.BROADCAST, Kind.QUERY, Kind.FRAME, Kind.GUEST}
)

_INTRODUCING: Final = frozenset(
    {Kind.SEND, Kind.POST, Kind.INVOKE, Kind.STREAM, Kind.BROADCAST, Kind.RESULT, Kind.ITEM, Kind.JOINED}
)
"""What always comes with the name of the renderer it is from."""

log = logging.getLogger("mainbus")


class Session:
    """Everything a renderer has with its broker but what it listens to.

    Args:
        address: Where the broker is.
        name: The name to ask for, or None.
        token: What the broker may ask for, or None.
        reconnect: Whether to come back after a loss.
        receiver: Who gets what arrives.
    """

    def __init__(
        self, address: Address, name: str | None, token: str | None, reconnect: bool, receiver: Receiver
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.address = address
        self.name = name
        self.welcome: Welcome | None = None
        self.link: Link | None = None
        self.outbox = Outbox(self.loop, WireLimits().pending)
        self.calls = Calls(self.loop, self._send_cancel)
        self.routes = RouteTable(self.outbox)
        self.main = self.routes.main
        self._met = self.routes.names
        self.ports = RendererPorts(self.outbox, lambda: self.link.wire if self.link is not None else None)
        self.frames = FrameTable()
        self.hosting = Hosting()
        self.lane: Lane | None = None
        """The connection for calls that block; opened on first need."""
        self.reconnects = 0
        self.dispatching = False
        """Whether the renderer has told the broker that it dispatches; said again after a reconnect."""
        self._watching = False
        self._token = token
        self._reconnect = reconnect
        self._receiver = receiver
        self._backlog: list[bytes] = []
        self._broken: MainbusError | None = None
        self._retry: asyncio.Task[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        """Done when `aclose` is; None before it."""
        self._ended: asyncio.Future[None] | None = None
        self._goodbye: str | None = None
        self._stopped = False
        """Whether that was the end of the broker: what it has not answered it never will."""
        self._handlers: dict[int, Callable[[Message], object]] = {
            Kind.SEND: receiver.message,
            Kind.POST: self._on_post,
            Kind.BROADCAST: receiver.message,
            Kind.INVOKE: receiver.invoke,
            Kind.STREAM: receiver.invoke,
            Kind.RESULT: receiver.reply,
            Kind.ERROR: receiver.reply,
            Kind.ITEM: receiver.reply,
            Kind.DEMAND: lambda message: receiver.demand(message[2], message[3], message[5]),
            Kind.CANCEL: lambda message: receiver.cancel(message[2], message[3], late=bool(message[5])),
            Kind.PAUSE: self._on_pause,
            Kind.RESUME: self._on_resume,
            Kind.CREDIT: self._on_credit,
            Kind.WHO: self._on_who,
            Kind.UNDELIVERABLE: self._on_undeliverable,
            Kind.GAP: lambda message: receiver.notify("gap"),
            Kind.ABORT: self._on_abort,
            Kind.JOINED: lambda message: receiver.notify("peer-joined", message[2], text_of(message[6]) or None),
            Kind.LEFT: self._on_left,
            **self.hosting.handlers(receiver),
            Kind.GOODBYE: self._on_goodbye,
            **self.ports.handlers(),
        }

    # Public: life

    async def open(self, connect_timeout: float) -> None:
        """Connect, trying for `connect_timeout` seconds while no broker is there. Safe to cancel.

        Raises:
            ConnectRefused: No broker is there, or it refuses this renderer.
            NameTaken: Another renderer has the name.
        """
        give_up = self.loop.time() + connect_timeout
        while True:
            if self._broken is not None:
                # Closed by another task meanwhile.
                raise again(self._broken)
            try:
                return await self._connect()
            except (FileNotFoundError, ConnectionRefusedError) as error:
                if self.loop.time() >= give_up:
                    raise refused(self.address, error) from error
            except (OSError, ConnectionLost) as error:
                if isinstance(error, MainbusError) and not isinstance(error, ConnectionLost):
                    raise
                raise refused(self.address, error) from error
            await asyncio.sleep(min(RETRY_FIRST, max(0.0, give_up - self.loop.time())))

    async def aclose(self) -> None:
        """Let what was sent leave, say goodbye and end. Cancelling it ends the connection at once."""
        if self._closed is not None:
            await asyncio.shield(self._closed)
            return
        if self.lane is not None:
            self.lane.close()
        self._closed = self.loop.create_future()
        try:
            if self._broken is None and self.link is not None:
                await self._leave()
        except ConnectionLost:
            log.debug("the connection was lost before everything had left")
        finally:
            self._broken = released()
            if self._retry is not None:
                self._retry.cancel()
            if self.link is not None:
                self.link.abort()
                self._lost(self.link, None)
            self._end(ConnectionLost("closed"))
            self._closed.set_result(None)

    # Public: what the verbs need

    @property
    def is_over(self) -> bool:
        """Whether it was closed, or lost for good."""
        return self._broken is not None

    def check(self) -> None:
        """Raise what makes every verb impossible: closed, or lost for good."""
        if self._broken is not None:
            raise again(self._broken)
        if self.welcome is None:
            raise LocalProtocolError("not connected yet: use `async with` or `await` on what connect() returned")

    def send(
        self,
        kind: Kind,
        peer: int,
        name: str | None,
        channel: bytes,
        body: bytes,
        *,
        frame: int = 0,
        flags: int = 0,
        accepted: bool = False,
    ) -> None:
        """Send a one-way message, in its place. `accepted`: it was found before that there is room.

        Args:
            frame: The frame that sends it, which only the main process gets to know.
            flags: More flags for its packets.

        Raises:
            MessageTooLarge: The body is longer than the broker takes.
            SendQueueFull: Too much is waiting to leave.
        """
        if kind == Kind.BROADCAST:
            route = self.routes.to(BROADCASTS)
        else:
            route = self.routes.to(peer if name is None else name)
        self._check_room(route, body, accepted)
        frame = frame if peer == MAIN and name is None else 0
        packet = packets.message(
            kind, peer, 0, body, flags=_by(name) | flags, frame=frame, name=_raw(name), channel=channel
        )
        route.put(packet, HEADER_SIZE + len(body))

    def check_room(self, target: int | str, body: bytes) -> None:
        """Check that a message to a target can be sent.

        Raises:
            MessageTooLarge: The body is longer than the broker takes.
            SendQueueFull: Too much is waiting to leave.
        """
        self._check_room(self.routes.to(target), body, accepted=False)

    def post(self, channel: bytes, body: bytes, ends: list[End], frame: int) -> None:
        """Send a message with which ends leave to the main process. Else as `send`."""
        route = self.routes.main
        size = HEADER_SIZE + len(body)
        if not ends:
            route.put(packets.message(Kind.POST, MAIN, 0, body, frame=frame, channel=channel), size)
            return

        def make(table: bytes) -> bytes | Iterator[bytes]:
            return packets.message(Kind.POST, MAIN, 0, table + body, frame=frame, channel=channel, value=len(ends))

        route.put(self.ports.departing(ends, make), size)

    def invoke(
        self,
        kind: Kind,
        peer: int,
        name: str | None,
        channel: str,
        raw: bytes,
        body: bytes,
        timeout: float | None,
        *,
        frame: int = 0,
        accepted: bool = False,
    ) -> Reply:
        """Send a request, in its place; its result comes to the `Reply`. Else as `send`."""
        route = self.routes.to(peer if name is None else name)
        self._check_room(route, body, accepted)
        request = self.calls.next_request()
        reply = self.calls.open(channel, request, route, timeout)
        packet = packets.message(
            kind,
            peer,
            request,
            body,
            flags=_by(name),
            frame=frame if peer == MAIN and name is None else 0,
            value=milliseconds(timeout),
            name=_raw(name),
            channel=raw,
        )
        route.put(packet, HEADER_SIZE + len(body), request)
        return reply

    def stream(
        self,
        peer: int,
        name: str | None,
        channel: str,
        raw: bytes,
        body: bytes,
        timeout: float | None,
        *,
        frame: int = 0,
        accepted: bool = False,
    ) -> StreamReply:
        """Send the request of a stream, in its place; its items and its end come to the reply. Else as `send`."""
        route = self.routes.to(peer if name is None else name)
        self._check_room(route, body, accepted)
        request = self.calls.next_request()
        reply = self.calls.open_stream(channel, request, route, timeout, self._send_demand)
        packet = packets.message(
            Kind.STREAM,
            peer,
            request,
            body,
            flags=_by(name),
            frame=frame if peer == MAIN and name is None else 0,
            value=milliseconds(timeout),
            name=_raw(name),
            channel=raw,
        )
        route.put(packet, HEADER_SIZE + len(body), request, is_free=True)
        return reply

    def ask(self, kind: Kind, what: str, **fields: Unpack[Fields]) -> Reply:
        """Send a request without a channel to the broker, in its place; errors name it as `what`."""
        request = self.calls.next_request()
        reply = self.calls.open(what, request, self.main, None)
        packet = build(kind, MAIN, request, **fields)
        self.main.put(packet, len(packet), request)
        return reply

    def tell(self, kind: Kind, **fields: Unpack[Fields]) -> None:
        """Send a packet to the broker behind all that goes to the main process; nothing, without a connection."""
        if self.link is not None:
            packet = build(kind, MAIN, **fields)
            self.main.put(packet, len(packet))

    def answer(self, peer: int, request: int, outcome: tuple[Kind, int, bytes]) -> None:
        """Send the answer to a request of `peer`."""
        if self.link is None:
            return
        kind, value, body = outcome
        self.routes.to(peer).reply(packets.message(kind, peer, request, body, value=value), HEADER_SIZE + len(body))

    def notice(self, kind: Kind, peer: int, request: int = 0, **fields: Any) -> None:
        """Send a packet that waits for nothing."""
        if self.link is not None:
            self.outbox.put(build(kind, peer, request, **fields))

    async def drain(self, target: int | str | None) -> None:
        """Wait until what was sent has left and the target keeps up. Safe to cancel."""

        def done() -> bool:
            if self._broken is not None:
                return True
            if not self.outbox.idle or self._backlog:
                return False
            if target is not None:
                return not self.routes.is_busy(target)
            return not self.outbox.held and not self.routes.any_paused

        await self.outbox.wait_until(done)
        self.check()

    def start_dispatch(self) -> None:
        """Tell the broker that what it sends is dispatched from now on."""
        self.dispatching = True
        self.notice(Kind.READY, MAIN)

    def watch(self) -> None:
        """Ask to be told who joins and leaves, now and after each reconnect."""
        self._watching = True
        self.notice(Kind.WATCH, MAIN)

    # Private: connecting

    async def _connect(self) -> None:
        before = self.welcome
        link = Link(self.outbox, self._receive, self._lost)
        hello = Hello(
            name=self.name,
            token=self._token,
            session=before.session if before else None,
            instance=before.instance if before else None,
            guest=self.hosting.link,
        )
        welcome = await link.open(self.address, hello)
        if self._broken is not None:
            link.abort()
            raise again(self._broken)
        self.welcome = welcome
        self.hosting.welcomed(welcome)
        self._receiver.connected(welcome.limits)
        self.ports.max_message = welcome.limits.message
        self.name = welcome.name
        self.link = link
        self._goodbye = None
        self._stopped = False
        self.outbox.max_calls = welcome.limits.pending
        self.routes.set_credit(welcome.credit)
        self._restore(same_broker=before is None or before.instance == welcome.instance)
        self.routes.learn(welcome.id, welcome.name)
        if before is not None:
            # Before anything that has arrived behind the welcome is dispatched.
            self.reconnects += 1
            self._receiver.notify("reconnected")
            self._receiver.notify("gap")
        link.start(welcome)
        if self.dispatching:
            self.notice(Kind.READY, MAIN)
        if self._watching:
            self.notice(Kind.WATCH, MAIN)

    async def _come_back(self) -> None:
        delay = RETRY_FIRST
        while True:
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(RETRY_LAST, delay * 2)
            try:
                await self._connect()
            except RemoteProtocolError as error:
                self._end(error)
                return
            except (OSError, MainbusError) as error:
                log.debug("reconnect to %s failed: %s", self.address, error)
                continue
            return

    def _lost(self, link: Link, error: Exception | None) -> None:
        if link is not self.link:
            return
        self.link = None
        self.outbox.detach()
        reason = str(error) if error else self._goodbye or "the broker is gone"
        kept = self._salvage()
        self.ports.close_all()
        lost = ConnectionLost(f"{reason} ({self.address})")
        self.calls.fail_all(partial(self._unanswered, reason), keep=kept)
        self.hosting.connection_lost()
        self._receiver.connection_lost()
        if self._ended is not None:
            # It was cancelled if the broker has not answered the goodbye in time.
            if not self._ended.done():
                self._ended.set_result(None)
            return
        if self._broken is None:
            self._receiver.notify("disconnected", reason)
        if self._broken is None and self._reconnect and self._closed is None:
            self._retry = self.loop.create_task(self._come_back(), name="mainbus reconnect")
        else:
            self._end(lost)

    def _unanswered(self, reason: str, reply: Reply) -> MainbusError:
        if self._stopped:
            return ReplyNeverSent(reply.channel)
        return ConnectionLost(f"{reason} (invoke of {reply.channel!r})")

    def _end(self, error: MainbusError) -> None:
        if self._broken is None:
            self._broken = error
        self.calls.fail_all(lambda reply: again(error))
        self.outbox.wake()
        self._receiver.end()

    async def _leave(self) -> None:
        self.ports.hurry()
        await self.drain(None)
        assert self.link is not None
        self._broken = released()
        self._ended = self.loop.create_future()
        self.notice(Kind.GOODBYE, MAIN, value=self.link.wire.received & MAX_U32)
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT):
                await self._ended
        except TimeoutError:
            log.warning("the broker did not answer the goodbye in %g s", GOODBYE_TIMEOUT)

    # Private: what outlives a connection

    def _salvage(self) -> set[int]:
        """Keep what had not begun to leave; returns the requests of the invokes among it."""
        kept: set[int] = set()
        for packet in self.outbox.take():
            head = HEADER.unpack_from(packet)
            if head[1] in _SURVIVORS and not head[2] & (MORE | CONTINUES):
                self._backlog.append(without_ports(packet) if head[1] == Kind.POST else packet)
                kept.add(head[6])
        kept |= self.routes.reset()
        kept.discard(0)
        return kept

    def _restore(self, *, same_broker: bool) -> None:
        backlog, self._backlog = [*self._backlog, *self.outbox.take()], []
        # The broker must know them before anything comes from them, or for them.
        for packet in (*self.frames.announcements(), *self.hosting.announcements()):
            self.outbox.put(packet)
        if not same_broker:
            # The ids of the former broker mean other renderers now, or none.
            backlog = [packet for packet in backlog if not self._is_by_id(packet)]
            for target, request in self.routes.forget_ids():
                self.calls.fail(request, NoSuchRenderer(target))
        for packet in backlog:
            self.outbox.put(packet)
        self.routes.restart()
        self._leave_lobby()

    def _is_by_id(self, packet: bytes) -> bool:
        head = HEADER.unpack_from(packet)
        if not head[5] or head[2] & BY_NAME:
            return False
        self.calls.fail(head[6], NoSuchRenderer(head[5]), left=True)
        return True

    # Private: sending

    def _check_room(self, route: Route, body: bytes, accepted: bool) -> None:
        assert self.welcome is not None
        limit = self.welcome.limits.message
        if len(body) > limit:
            raise MessageTooLarge(len(body), limit)
        if not accepted and route.size + self.outbox.queued >= MAX_UNSENT:
            raise SendQueueFull(MAX_UNSENT)

    def _leave_lobby(self) -> None:
        for entry, route in list(self.routes.leave_lobby()):
            if route is None:
                self._refuse(entry)
            elif entry.request:
                self.calls.moved(entry.request, route)
        self.outbox.wake()

    def _refuse(self, entry: Entry) -> None:
        """Answer for a renderer that does not exist, as the broker does."""
        packet = entry.first()
        if packet is None or entry.is_reply:
            return
        head = HEADER.unpack_from(packet)
        if entry.request:
            self.calls.fail(entry.request, NoSuchRenderer(head[5]))
        else:
            channel_at = HEADER_SIZE + head[3]
            channel = text_of(packet[channel_at : channel_at + head[4]])
            self._receiver.notify("undeliverable", head[5], channel, "no such renderer")

    # Private: what arrives

    def _receive(self, head: Head, data: bytes, at: int) -> None:
        link = self.link
        assert link is not None
        message = link.wire.message(head, data, at)
        if message is not None:
            kind, peer = message[0], message[2]
            if peer and peer not in self._met and kind in _INTRODUCING:
                self.routes.learn(peer, text_of(message[6]) or None)
            self._handlers[kind](message)

    def _on_pause(self, message: Message) -> None:
        _, _, peer, serial, _, value, name, _, _ = message
        self.routes.pause(peer, text_of(name) if name else None, broadcasts=bool(value))
        self.notice(Kind.PAUSED, peer, serial)

    def _on_resume(self, message: Message) -> None:
        self.routes.resume(message[2])
        self.outbox.wake()

    def _on_credit(self, message: Message) -> None:
        route = self.routes.get(message[2])
        if route is not None:
            route.set_credit(message[5])

    def _on_who(self, message: Message) -> None:
        self.routes.answered(message[2], text_of(message[6]) or None, exists=bool(message[5]))
        self._leave_lobby()

    def _on_undeliverable(self, message: Message) -> None:
        _, flags, peer, _, _, _, name, channel, body = message
        target: int | str = text_of(name) if name and flags & BY_NAME else peer
        self._receiver.notify("undeliverable", target, channel, body.decode("utf-8", "replace"))

    def _on_abort(self, message: Message) -> None:
        if self.link is not None:
            self.link.wire.abort(message[2])

    def _on_left(self, message: Message) -> None:
        self._receiver.peer_left(message[2])
        self._receiver.notify("peer-left", message[2], text_of(message[6]) or None)

    def _on_post(self, message: Message) -> None:
        if message[5]:
            self._receiver.message(*self.ports.arrive_with(message))
        else:
            self._receiver.message(message)

    def _on_goodbye(self, message: Message) -> None:
        self._goodbye = message[8].decode("utf-8", "replace") or "the broker said goodbye"
        self._stopped = message[5] == ReplyNeverSent.wire_code
        if self.link is not None:
            self.link.close()

    def _send_demand(self, request: int, credit: int) -> None:
        self.notice(Kind.DEMAND, MAIN, request, value=credit)

    def _send_cancel(self, reply: Reply) -> None:
        packet = build(Kind.CANCEL, MAIN, reply.request)
        if self.link is not None and not reply.route.put_behind(reply.request, packet):
            self.outbox.put(packet)


def _by(name: str | None) -> int:
    return BY_NAME if name is not None else 0


def _raw(name: str | None) -> bytes:
    return name.encode() if name is not None else b""
