"""BlockingRenderer: the API of a renderer for threads, and nothing else."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

from mainbus.address import Address, default_address, parse
from mainbus.blocking.arrivals import Arrivals
from mainbus.blocking.loop import LoopThread
from mainbus.blocking.messages import Mailbox, Messages
from mainbus.blocking.registry import LockedChannels, LockedEvents
from mainbus.blocking.sync_lane import SyncCall, SyncLane
from mainbus.blocking.waiter import Waiter
from mainbus.blocking.work import Work
from mainbus.channels import check_channel
from mainbus.errors import (
    ConnectionLost,
    InvokeTimeout,
    LocalProtocolError,
    MessageTooLarge,
    PortError,
    SendQueueFull,
)
from mainbus.lane_threads import BROKER_THREADS
from mainbus.names import check_name, check_target
from mainbus.renderer import PeerInfo
from mainbus.route_table import BROADCASTS
from mainbus.session import MAX_UNSENT, Session
from mainbus.target import Senders
from mainbus.timeouts import check_timeout
from mainbus.wire import clone
from mainbus.wire.messages import WireLimits
from mainbus.wire.packets import HEADER_SIZE, MAIN, Kind


def connect(
    address: str | None = None,
    *,
    name: str | None = None,
    token: str | None = None,
    connect_timeout: float = 0,
    reconnect: bool = True,
    poll: bool = False,
) -> BlockingRenderer:
    """Return a renderer that is not open yet: `with` or `open()` opens it.

    Args:
        address: Where the broker is, such as "unix:/run/user/1000/app.sock"; None: the default address.
        name: The name by which other renderers can reach this one; it belongs to one renderer at a time.
        token: What the broker may ask for; None: the token in MAINBUS_TOKEN, if the broker started this process.
        connect_timeout: Seconds to wait for a broker that is not there yet.
        reconnect: Whether to come back when the connection is lost.
        poll: Run listeners and handlers in the thread that opens the renderer, while it is in `poll`, `wait_for` or
            the iteration of `listen`; else they run in a thread of their own.

    Raises:
        AddressError: The address is none, or too long.
        ValueError: The name is not of 1 to 255 bytes of UTF-8.
    """
    if name is not None:
        check_name(name)
    return BlockingRenderer(
        parse(address) if address is not None else default_address(),
        name,
        # A token is good for one renderer: the next one of this process, and its children, must not find it.
        token if token is not None else os.environ.pop("MAINBUS_TOKEN", None),
        connect_timeout,
        reconnect,
        poll,
    )


class BlockingRenderer(LockedChannels):
    """An `IpcRenderer` without a loop, for any number of threads. Made by `connect`.

    A reader thread always reads. Listeners and handlers are plain functions and run one at a time, in order, in a
    second thread, or in `poll`. Each may call every verb, `invoke` and `wait_for` included. What a thread sends is
    sent in the order of its calls, and copied at the call. Ctrl-C interrupts every wait, and cancels what it was for.

    Registering is possible before the renderer is open; whoever registers later may miss what came first.

    Attributes:
        events: What happens to the connection itself; as in `IpcRenderer`.
    """

    __slots__ = (
        "_address",
        "_arrivals",
        "_connect_timeout",
        "_dispatching",
        "_lane",
        "_loop",
        "_name",
        "_reconnect",
        "_session",
        "_token",
        "_watching",
        "_work",
        "events",
    )

    def __init__(
        self,
        address: Address,
        name: str | None,
        token: str | None,
        connect_timeout: float,
        reconnect: bool,
        polled: bool,
    ) -> None:
        super().__init__()
        self.events = LockedEvents(self._watch)
        self._address = address
        self._name = name
        self._token = token
        self._connect_timeout = connect_timeout
        self._reconnect = reconnect
        self._watching = False
        self._lane: SyncLane | None = None
        self._dispatching = False
        self._session: Session | None = None
        self._loop = LoopThread(self._connect, self._disconnect)
        self._work = Work(polled)
        self._arrivals = Arrivals(self, self, self.events, self._loop, self._work, self._lose_lane)

    # Public: life

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> Self:
        """Connect, and begin to run listeners; returns the renderer itself.

        Raises:
            ConnectRefused: No broker is there, or it refuses this renderer.
            NameTaken: Another renderer has the name.
        """
        self._loop.open()
        try:
            self._work.start()
            if not self._work.polled:
                self._dispatch()
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """Let what was sent leave, say goodbye and end; a second call does nothing. Any thread may call it.

        After it every verb raises `ObjectDestroyedError`. What has arrived and was not run yet is dropped; a listener
        that runs has some seconds to end. In a fork of the process it does nothing.
        """
        if self._session is None or self._loop.is_fork:
            return
        self._loop.release()
        self._work.close()
        try:
            self._loop.close()
        finally:
            self._work.join()

    # Public: what it is

    @property
    def id(self) -> int:
        """This renderer's id, which a reconnect changes."""
        welcome = self._opened().welcome
        assert welcome is not None
        return welcome.id

    @property
    def name(self) -> str | None:
        """This renderer's name, or None."""
        return self._session.name if self._session is not None else self._name

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection at this moment."""
        return self._session is not None and self._session.link is not None

    def stats(self) -> dict[str, int]:
        """Return counters, and how much there is of what comes and goes; sizes in bytes."""
        session = self._opened()
        return {
            "pending": len(session.calls),
            "queued": session.outbox.queued + self._loop.waiting_bytes,
            "held": session.outbox.held,
            "running": self._work.running,
            "waiting": len(self._work),
            "reconnects": session.reconnects,
        }

    # Public: to the main process

    def send(self, channel: str, *args: object) -> None:
        """Send a message to the main process; returns at once.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            MessageTooLarge: It is longer than the broker takes.
            SendQueueFull: Too much waits to leave; `drain` waits until it has.
        """
        self._send(Kind.SEND, MAIN, channel, args)

    def post_message(self, channel: str, message: object, transfer: Sequence[object] = ()) -> None:
        """Send one message to the main process, whose listener gets `(event, message)`. As `send`.

        Raises:
            PortError: `transfer` has something that is no MessagePort.
        """
        if transfer:
            raise PortError("Invalid value for transfer")
        self._send(Kind.POST, MAIN, channel, (message,))

    def invoke(self, channel: str, *args: object, timeout: float | None = None) -> Any:
        """Invoke a handler of the main process and wait for its result.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            RemoteError: The handler raised (`NoHandlerError`: there is none, `ReplyNeverSent`: it went away).
            InvokeTimeout: No result in time; the handler is cancelled.
            ConnectionLost: The connection was lost meanwhile.
            RuntimeError: This is the thread of the broker's own loop, which would wait for itself.
        """
        return self._invoke(Kind.INVOKE, MAIN, channel, args, timeout)

    def send_sync(self, channel: str, *args: object, timeout: float = 30) -> Any:
        """Send a message to the main process and wait until a listener sets `event.return_value`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`.

        Raises:
            ConnectionLost: There is no connection, or it was lost.
            ReplyNeverSent: Nobody listens, or nobody set a value.
            RuntimeError: This is the thread of the broker's own loop, which would wait for itself.
        """
        session = self._waiting()
        check_timeout(timeout)
        call = SyncCall(channel, check_channel(channel), self._encode(args), timeout)
        room = partial(self._check_room, MAIN)
        return self._loop.wait(partial(self._start_sync, session, call), HEADER_SIZE + len(call.body), room)

    # Public: to other renderers

    def send_to(self, target: int | str, channel: str, *args: object) -> None:
        """Send a message to another renderer; returns at once. If it cannot be delivered, "undeliverable" is raised.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must listen with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.

        Raises:
            As `send`.
        """
        self._send(Kind.SEND, target, channel, args)

    def invoke_to(self, target: int | str, channel: str, *args: object, timeout: float | None = None) -> Any:
        """Invoke another renderer's handler and wait for its result. As `invoke`; it may also raise `NoSuchRenderer`.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must handle it with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.
        """
        return self._invoke(Kind.INVOKE, target, channel, args, timeout)

    def broadcast(self, channel: str, *args: object) -> None:
        """Send a message to every other renderer; returns at once. As `send`."""
        self._send(Kind.BROADCAST, MAIN, channel, args)

    def peers(self) -> list[PeerInfo]:
        """Return the other renderers that are connected."""
        return [PeerInfo(id, name) for id, name in self._invoke(Kind.QUERY, MAIN, "peers", (), None)]

    def status(self) -> dict[str, Any]:
        """Return what the broker tells of itself: pid, renderers, channels of the main process."""
        found: dict[str, Any] = self._invoke(Kind.QUERY, MAIN, "status", (), None)
        return found

    def drain(self, target: int | str | None = None) -> None:
        """Wait until what was sent has left, and the target (None: every one) keeps up."""
        session = self._waiting()
        self._loop.wait(lambda waiter: waiter.follow(session.loop.create_task(session.drain(target))))

    # Public: receiving

    def poll(self, timeout: float | None = 0) -> int:
        """Run the listeners and handlers of what has arrived. For a renderer that was made with `poll=True`.

        Args:
            timeout: Seconds to wait if nothing has arrived; None waits for ever.

        Returns:
            How many messages, invokes and events were run; further ones may have arrived meanwhile.

        Raises:
            LocalProtocolError: Listeners have a thread of their own, or another thread opened this renderer.
            ConnectionLost: The connection is lost for good, and all that had arrived was run.
        """
        session = self._opened()
        check_timeout(timeout)
        if not self._dispatching:
            self._dispatch()
        count = self._work.poll(timeout)
        if not count and self._work.is_over:
            session.check()
        return count

    def fileno(self) -> int:
        """Return a descriptor that is readable while `poll` has something to run, for select() and GUI loops.

        Raises:
            LocalProtocolError: Listeners have a thread of their own.
        """
        self._opened()
        return self._work.fileno()

    def listen(self, channel: str, max_queue: int = 1024, *, senders: Senders = "main") -> Messages:
        """Return an iterator of `(event, *args)`, one for each message on a channel from now on.

        Args:
            channel: The channel.
            max_queue: Messages that may wait to be taken; then no listener is run until one was, and none is dropped.
            senders: Whose messages: "main", "renderers" or "any".
        """
        mailbox = Mailbox(self._work, max_queue)
        mailbox.registration = self.on(channel, mailbox.put, senders=senders)
        return Messages(self._work, mailbox, self._loop.post)

    def wait_for(self, channel: str, timeout: float | None = None, *, senders: Senders = "main") -> tuple[Any, ...]:
        """Wait for the next message on a channel and return `(event, *args)`.

        Args:
            channel: The channel.
            timeout: Seconds until `InvokeTimeout`, or None.
            senders: Whose messages: "main", "renderers" or "any".
        """
        session = self._waiting()
        check_timeout(timeout)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        found: list[tuple[Any, ...]] = []

        def take(*message: Any) -> None:
            found.append(message)
            self._work.notify()

        with self.once(channel, take, senders=senders):
            if not self._work.run_until(lambda: found or self._work.is_over, deadline):
                assert timeout is not None
                raise InvokeTimeout(channel, timeout)
        if not found:
            session.check()
        return found[0]

    # Private: any thread

    def _opened(self) -> Session:
        self._loop.check()
        if self._session is None:
            raise LocalProtocolError("not connected yet: use `with` or `open()` on what connect() returned")
        return self._session

    def _checked(self) -> Session:
        session = self._opened()
        session.check()
        return session

    def _waiting(self) -> Session:
        """Check that this thread may wait for the broker."""
        session = self._checked()
        welcome = session.welcome
        if welcome is not None and BROKER_THREADS.get(welcome.instance) == threading.get_ident():
            raise RuntimeError(
                "the thread of the broker's own loop would wait for itself; use mainbus.connect there, or a thread"
            )
        return session

    def _encode(self, args: Sequence[object]) -> bytes:
        welcome = self._opened().welcome
        limits = welcome.limits if welcome is not None else WireLimits()
        body = clone.encode(list(args), max_depth=limits.depth)
        if len(body) > limits.message:
            raise MessageTooLarge(len(body), limits.message)
        return body

    def _check_room(self, route: int | str, waiting: int) -> None:
        session = self._opened()
        if waiting + session.outbox.queued + session.routes.size(route) >= MAX_UNSENT:
            raise SendQueueFull(MAX_UNSENT)

    def _send(self, kind: Kind, target: int | str, channel: str, args: Sequence[object]) -> None:
        session = self._checked()
        peer, name = check_target(target)
        raw, body = check_channel(channel), self._encode(args)
        call = partial(session.send, kind, peer, name, raw, body, accepted=True)
        route = BROADCASTS if kind == Kind.BROADCAST else peer if name is None else name
        self._loop.post_verb(call, HEADER_SIZE + len(body), partial(self._check_room, route))

    def _invoke(
        self, kind: Kind, target: int | str, channel: str, args: Sequence[object], timeout: float | None
    ) -> Any:
        session = self._waiting()
        check_timeout(timeout)
        peer, name = check_target(target)
        raw, body = check_channel(channel), self._encode(args)

        def start(waiter: Waiter) -> None:
            session.check()
            waiter.follow(session.invoke(kind, peer, name, channel, raw, body, timeout, accepted=True))

        room = partial(self._check_room, peer if name is None else name)
        return self._loop.wait(start, HEADER_SIZE + len(body), room)

    def _dispatch(self) -> None:
        self._dispatching = True
        self._loop.post(self._opened().start_dispatch)

    def _watch(self) -> None:
        self._watching = True
        if self._session is not None:
            self._loop.post(self._session.watch)

    # Private: the reader thread

    async def _connect(self) -> None:
        session = Session(self._address, self._name, self._token, self._reconnect, self._arrivals)
        self._arrivals.session = session
        await session.open(self._connect_timeout)
        self._session = session
        if self._watching:
            session.watch()

    async def _disconnect(self) -> None:
        try:
            await self._opened().aclose()
        finally:
            self._lose_lane()
            if self._lane is not None:
                await self._lane.wait_closed()

    def _start_sync(self, session: Session, call: SyncCall, waiter: Waiter) -> None:
        session.check()
        link, lane = session.link, self._lane
        if link is None:
            raise ConnectionLost("send_sync needs a connection, and there is none at this moment")
        if lane is None or lane.link is not link or lane.is_lost:
            lane = self._lane = SyncLane(session, link, lane if lane is not None and lane.link is link else None)
        call.waiter = waiter
        lane.call(call)

    def _lose_lane(self) -> None:
        if self._lane is not None:
            self._lane.fail(ConnectionLost(f"connection to {self._address} lost"))
