"""A renderer's session: one connection at a time, its pending calls and routes, and coming back after a loss."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from mainbus import shared_memory
from mainbus.address import Address
from mainbus.backlog import Backlog
from mainbus.descriptor_lane import DescriptorLane
from mainbus.errors import (
    ConnectionLost,
    ConnectRefused,
    LocalProtocolError,
    MainbusError,
    NameTaken,
    RemoteProtocolError,
    ReplyNeverSent,
)
from mainbus.frame_table import FrameTable
from mainbus.hosting import Hosting
from mainbus.link import Link
from mainbus.outgoing import MakePorts, Outgoing
from mainbus.receiver import Receiver
from mainbus.released import again, refused, released
from mainbus.renderer_ports import RendererPorts
from mainbus.reply import Reply
from mainbus.wire.messages import POOLS, Hello, Welcome
from mainbus.wire.packets import BY_NAME, MAIN, MAX_U32, POOLED, Head, Kind, Message, plain, text_of

if TYPE_CHECKING:
    from mainbus.lane import Lane

RETRY_FIRST: Final = 0.05
RETRY_LAST: Final = 5.0
"""Seconds between attempts to reconnect: from the first to the last, doubled each time and jittered."""

GOODBYE_TIMEOUT: Final = 5.0

_INTRODUCING: Final = frozenset(
    {Kind.SEND, Kind.POST, Kind.INVOKE, Kind.STREAM, Kind.BROADCAST, Kind.RESULT, Kind.ITEM, Kind.JOINED}
)
"""What always comes with the name of the renderer it is from."""

log = logging.getLogger("mainbus")


class Session(Outgoing):
    """Everything a renderer has with its broker but what it listens to.

    Args:
        address: Where the broker is.
        name: The name to ask for, or None.
        token: What the broker may ask for, or None.
        reconnect: Whether to come back after a loss.
        receiver: Who gets what arrives.
        ports: Makes what has the ports of this connection.
    """

    __slots__ = (
        "_backlog",
        "_broken",
        "_closed",
        "_ended",
        "_goodbye",
        "_handlers",
        "_receiver",
        "_reconnect",
        "_retry",
        "_stopped",
        "_token",
        "_watching",
        "address",
        "dispatching",
        "frames",
        "hosting",
        "lane",
        "met",
        "name",
        "pauses",
        "reconnects",
    )

    def __init__(
        self,
        address: Address,
        name: str | None,
        token: str | None,
        reconnect: bool,
        receiver: Receiver,
        ports: MakePorts = RendererPorts,
    ) -> None:
        super().__init__(asyncio.get_running_loop(), ports)
        self.address = address
        self.name = name
        self.met = self.routes.names
        """The names of renderers by id, as far as somebody has told."""
        self.frames = FrameTable()
        self.hosting = Hosting()
        self.lane: Lane | None = None
        """The connection for calls that block; opened on first need."""
        self.reconnects = 0
        self.pauses = 0
        """How often it was asked to hold what it has for somebody."""
        self.dispatching = False
        """Whether the renderer has told the broker that it dispatches; said again after a reconnect."""
        self._watching = False
        self._token = token
        self._reconnect = reconnect
        self._receiver = receiver
        self._backlog = Backlog(self.outbox, self.routes, self.calls)
        self._broken: MainbusError | None = None
        self._retry: asyncio.Task[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        """Done when `aclose` is; None before it."""
        self._ended: asyncio.Future[None] | None = None
        self._goodbye: str | None = None
        self._stopped = False
        """Whether that was the end of the broker: what it has not answered it never will."""
        self._handlers: dict[int, Callable[[Message], object]] | None = None
        """What takes each kind of message; made for the first one that is not taken before."""

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
            self._break(released())
            if self._retry is not None:
                self._retry.cancel()
            if self.link is not None:
                self.link.abort()
                self.lost(self.link, None)
            self._end(ConnectionLost("closed"))
            self._closed.set_result(None)

    # Public: what the verbs need, beside what leaves

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

    async def drain(self, target: int | str | None) -> None:
        """Wait until what was sent has left and the target keeps up. Safe to cancel."""

        def done() -> bool:
            if self._broken is not None:
                return True
            if not self.outbox.idle or not self._backlog.is_empty:
                return False
            if target is not None:
                return not self.routes.is_busy(target)
            return not self.outbox.held and not self.routes.any_paused

        await self.outbox.wait_until(done)
        self.check()

    def no_memory(self) -> None:
        """Give up the connection, since there is no memory for a message that has come on it."""
        if self.link is not None:
            self.link.no_memory()

    def arrive_pooled(self, message: Message) -> None:
        """Take a message of somebody who was heard of before, which is in a pool."""
        self._hand(self.pools.arrive(message))

    def start_dispatch(self) -> None:
        """Tell the broker that what it sends is dispatched from now on."""
        self.dispatching = True
        holds = self.outbox.hold()
        self.notice(Kind.READY, MAIN)
        if holds:
            self.outbox.let_go()

    def watch(self) -> None:
        """Ask to be told who joins and leaves: with the hello, also after each reconnect, or else now."""
        if not self._watching:
            self._watching = True
            self.notice(Kind.WATCH, MAIN)

    # Public: what its link needs

    def receive(self, head: Head, data: bytes, at: int) -> None:
        """Take a packet that nobody has taken before."""
        link = self.link
        assert link is not None
        message = link.wire.message(head, data, at)
        if message is not None:
            if message[1] & POOLED:
                message = self.pools.arrive(message)
            kind, peer = message[0], message[2]
            if peer and peer not in self.met and kind in _INTRODUCING:
                self.routes.learn(peer, text_of(message[6]) or None)
            self._hand(message)

    def lost(self, link: Link, error: Exception | None) -> None:
        """Keep what another connection can bring, fail the rest, and come back if that is wanted."""
        if link is not self.link:
            return
        self.link = None
        self.outbox.detach()
        reason = str(error) if error else self._goodbye or "the broker is gone"
        kept = self._backlog.salvage()
        self.ports.close_all()
        if self._pools is not None:
            self._pools.close()
        if self.descriptors is not None:
            self.descriptors.close()
            self.descriptors = None
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

    # Private: connecting

    async def _connect(self) -> None:
        before = self.welcome
        link = Link(self)
        hello = Hello(
            name=self.name,
            token=self._token,
            session=before.session if before else None,
            instance=before.instance if before else None,
            watch=self._watching,
            guest=self.hosting.link,
            features=self._features(),
        )
        welcome = await link.open(self.address, hello)
        if self._broken is not None:
            link.abort()
            raise again(self._broken)
        self.welcome = welcome
        self.hosting.welcomed(welcome)
        self._receiver.connected(welcome.limits)
        self.leaving.limit(welcome.limits.message, welcome.limits.depth)
        self.descriptors = DescriptorLane(welcome, self.address) if welcome.descriptors is not None else None
        self.ports.welcomed(welcome, self.descriptors)
        if self._pools is not None:
            self._pools.welcomed(welcome, self.descriptors)
        self.name = welcome.name
        self.link = link
        link.wire.owner, link.wire.taker = self, self._receiver.taker
        self._goodbye = None
        self._stopped = False
        self.outbox.max_calls = welcome.limits.pending
        self.routes.set_credit(welcome.credit)
        if before is None:
            self.routes.learn(welcome.id, welcome.name)
        else:
            self._restore(welcome, same_broker=before.instance == welcome.instance)
        link.start(welcome)
        if self.dispatching:
            self.notice(Kind.READY, MAIN)
        if self._watching and not hello.watch:
            self.notice(Kind.WATCH, MAIN)

    def _restore(self, welcome: Welcome, *, same_broker: bool) -> None:
        """Go on where the former connection was lost, before anything behind the welcome is dispatched."""
        undeliverable = self._backlog.restore(
            [*self.frames.announcements(), *self.hosting.announcements()], same_broker=same_broker
        )
        self._leave_lobby()
        self.routes.learn(welcome.id, welcome.name)
        self.reconnects += 1
        self._receiver.notify("reconnected")
        self._receiver.notify("gap")
        for peer, channel in undeliverable:
            self._receiver.notify("undeliverable", peer, channel, "that id was given by a former broker")

    def _features(self) -> tuple[str, ...]:
        features = self.ports.features(self.address)
        return (*features, POOLS) if shared_memory.AVAILABLE and self.address.scheme == "unix" else features

    async def _come_back(self) -> None:
        delay = RETRY_FIRST
        warned = False
        while True:
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(RETRY_LAST, delay * 2)
            try:
                await self._connect()
            except (RemoteProtocolError, ConnectRefused) as error:
                # The broker said no, and would say it again.
                log.warning("no reconnect to %s: %s", self.address, error)
                self._end(error)
                return
            except NameTaken as error:
                # Who has it may leave.
                log.log(logging.DEBUG if warned else logging.WARNING, "no reconnect to %s yet: %s", self.address, error)
                warned = True
                continue
            except (OSError, MainbusError) as error:
                log.debug("reconnect to %s failed: %s", self.address, error)
                continue
            return

    def _unanswered(self, reason: str, reply: Reply) -> MainbusError:
        if self._stopped:
            return ReplyNeverSent(reply.channel)
        return ConnectionLost(f"{reason} (invoke of {reply.channel!r})")

    def _break(self, error: MainbusError) -> None:
        """Let every verb raise `error` from now on."""
        self._broken = error
        self.leaving.limit(0, 0)

    def _end(self, error: MainbusError) -> None:
        if self._broken is None:
            self._break(error)
        self.calls.fail_all(lambda reply: again(error))
        self.ports.end()
        self.outbox.wake()
        self._receiver.end()

    async def _leave(self) -> None:
        self.ports.hurry()
        with suppress(TimeoutError):
            # Whoever is at the other end of a direct port may have stopped.
            async with asyncio.timeout(GOODBYE_TIMEOUT):
                await self.ports.flushed()
        await self.drain(None)
        assert self.link is not None
        self._break(released())
        self._ended = self.loop.create_future()
        self.notice(Kind.GOODBYE, MAIN, value=self.link.wire.received & MAX_U32)
        try:
            async with asyncio.timeout(GOODBYE_TIMEOUT):
                await self._ended
        except TimeoutError:
            log.warning("the broker did not answer the goodbye in %g s", GOODBYE_TIMEOUT)

    # Private: what arrives

    def _hand(self, message: Message) -> None:
        if self._handlers is None:
            self._handlers = self._make_handlers()
        self._handlers[message[0]](message)

    def _make_handlers(self) -> dict[int, Callable[[Message], object]]:
        receiver = self._receiver
        return plain(
            {
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
                **self.pools.handlers(),
            }
        )

    def _on_pause(self, message: Message) -> None:
        self.pauses += 1
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

    def _leave_lobby(self) -> None:
        for peer, channel in self._backlog.leave_lobby():
            self._receiver.notify("undeliverable", peer, channel, "no such renderer")

    def _on_undeliverable(self, message: Message) -> None:
        _, flags, peer, _, _, _, name, channel, body = message
        target: int | str = text_of(name) if name and flags & BY_NAME else peer
        self._receiver.notify("undeliverable", target, channel, bytes(body).decode("utf-8", "replace"))

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
        self._goodbye = bytes(message[8]).decode("utf-8", "replace") or "the broker said goodbye"
        self._stopped = message[5] == ReplyNeverSent.wire_code
        if self.link is not None:
            # Nobody would read it: what waits leaves on the next connection.
            self.outbox.detach()
            self.link.close()
