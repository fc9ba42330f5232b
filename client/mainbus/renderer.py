"""IpcRenderer: the API of a renderer, and nothing else."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Generator, Sequence
from typing import Any, Final, NamedTuple, Self

from mainbus.address import Address, default_address, parse
from mainbus.arrivals import Arrivals
from mainbus.channels import check_channel
from mainbus.emitter import Emitter
from mainbus.errors import ConnectionLost, InvokeTimeout, LocalProtocolError, PortError
from mainbus.incoming import Incoming
from mainbus.lane import Lane
from mainbus.lane_threads import BROKER_THREADS
from mainbus.ownership import Owner
from mainbus.reply import Reply
from mainbus.sender_channels import SenderChannels
from mainbus.session import Session, released
from mainbus.target import Senders
from mainbus.timeouts import check_timeout
from mainbus.wire import clone
from mainbus.wire.packets import MAIN, MAX_U32, Kind

EVENTS: Final = frozenset(
    {
        "disconnected",
        "reconnected",
        "gap",
        "undeliverable",
        "message-error",
        "peer-joined",
        "peer-left",
    }
)


class PeerInfo(NamedTuple):
    """Another renderer, as `peers` lists it."""

    id: int
    name: str | None


def connect(
    address: str | None = None,
    *,
    name: str | None = None,
    token: str | None = None,
    connect_timeout: float = 0,
    reconnect: bool = True,
) -> IpcRenderer:
    """Return a renderer that is not open yet: `async with` or `await` opens it.

    Args:
        address: Where the broker is, such as "unix:/run/user/1000/app.sock"; None: the default address.
        name: The name by which other renderers can reach this one; it belongs to one renderer at a time.
        token: What the broker may ask for; None: the token in MAINBUS_TOKEN, if the broker started this process.
        connect_timeout: Seconds to wait for a broker that is not there yet.
        reconnect: Whether to come back when the connection is lost.

    Raises:
        AddressError: The address is none, or too long.
        ValueError: The name is not of 1 to 255 bytes of UTF-8.
    """
    if name is not None:
        check_name(name)
    return IpcRenderer(
        parse(address) if address is not None else default_address(),
        name,
        # A token is good for one renderer: the next one of this process, and its children, must not find it.
        token if token is not None else os.environ.pop("MAINBUS_TOKEN", None),
        connect_timeout,
        reconnect,
    )


class IpcRenderer(SenderChannels):
    """Electron's `ipcRenderer`: this process as a renderer. Made by `connect`.

    Every object belongs to the thread of its loop. Verbs that return at once never wait: what cannot leave yet is
    held, in order, and `drain` waits for it.

    Attributes:
        events: What happens to the connection itself, apart from the channels: "disconnected" (reason),
            "reconnected", "gap", "undeliverable" (target, channel, reason), "message-error" (sender_id, channel),
            "peer-joined" (id, name) and "peer-left" (id, name).
    """

    __slots__ = (
        "_address",
        "_arrivals",
        "_connect_timeout",
        "_lane",
        "_name",
        "_owner",
        "_reconnect",
        "_released",
        "_session",
        "_token",
        "_watching",
        "events",
    )

    def __init__(
        self, address: Address, name: str | None, token: str | None, connect_timeout: float, reconnect: bool
    ) -> None:
        super().__init__()
        self.events = ConnectionEvents(EVENTS)
        self.events.on_peers = self._watch
        self._address = address
        self._name = name
        self._token = token
        self._connect_timeout = connect_timeout
        self._reconnect = reconnect
        self._arrivals = Arrivals(self, self, self.events.emit)
        self._session: Session | None = None
        self._owner: Owner | None = None
        self._lane: Lane | None = None
        self._watching = False
        self._released = False

    # Public: life

    def __await__(self) -> Generator[Any, None, Self]:
        return self._open().__await__()

    async def __aenter__(self) -> Self:
        return await self._open()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let what was sent leave, say goodbye and end; a second call does nothing.

        After it every verb raises `ObjectDestroyedError`. Cancelling it ends the connection at once.
        """
        self._check_thread()
        self._released = True
        if self._session is None:
            return
        if self._lane is not None:
            self._lane.close()
        await self._session.aclose()

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
            "queued": session.outbox.queued,
            "held": session.outbox.held,
            "running": len(self._arrivals.dispatch.tasks),
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
        self._checked().send(Kind.SEND, MAIN, None, check_channel(channel), self._encode(list(args)))

    def post_message(self, channel: str, message: object, transfer: Sequence[object] = ()) -> None:
        """Send one message to the main process, whose listener gets `(event, message)`. As `send`.

        Raises:
            PortError: `transfer` has something that is no MessagePort.
        """
        if transfer:
            raise PortError("Invalid value for transfer")
        self._checked().send(Kind.POST, MAIN, None, check_channel(channel), self._encode([message]))

    def invoke(self, channel: str, *args: object, timeout: float | None = None) -> Reply:
        """Invoke a handler of the main process; the request leaves at the call, awaited or not.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.

        Returns:
            A `Reply`. Awaiting it gives the handler's result, or raises `RemoteError` (`NoHandlerError`,
            `ReplyNeverSent`), `InvokeTimeout` or `ConnectionLost`. Cancelling it cancels the handler.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
        """
        return self._invoke(Kind.INVOKE, MAIN, channel, args, timeout)

    def send_sync(self, channel: str, *args: object, timeout: float = 30) -> object:
        """Send a message to the main process and block this thread until a listener sets `event.return_value`.

        It keeps its place among what was sent before. What arrives meanwhile is dispatched after it returns. Prefer
        `invoke`: while this blocks, nothing else of this loop runs.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`.

        Raises:
            ConnectionLost: There is no connection, or it was lost.
            ReplyNeverSent: Nobody listens, or nobody set a value.
            RuntimeError: This is the thread of the broker's own loop, which would wait for itself.
        """
        session = self._checked()
        check_timeout(timeout)
        raw, body = check_channel(channel), self._encode(list(args))
        if session.link is None or session.welcome is None:
            raise ConnectionLost("send_sync needs a connection, and there is none at this moment")
        if BROKER_THREADS.get(session.welcome.instance) == threading.get_ident():
            raise RuntimeError("send_sync on the thread of the broker's own loop would wait for itself; use invoke")
        if self._lane is not None and not self._lane.usable:
            self._lane.close()
            self._lane = None
        if self._lane is None:
            self._lane = Lane(session)
        return self._lane.call(channel, raw, body, timeout)

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
        peer, name = check_target(target)
        self._checked().send(Kind.SEND, peer, name, check_channel(channel), self._encode(list(args)))

    def invoke_to(self, target: int | str, channel: str, *args: object, timeout: float | None = None) -> Reply:
        """Invoke another renderer's handler. As `invoke`; awaiting may also raise `NoSuchRenderer`.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must handle it with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.
        """
        return self._invoke(Kind.INVOKE, target, channel, args, timeout)

    def broadcast(self, channel: str, *args: object) -> None:
        """Send a message to every other renderer; returns at once. As `send`.

        Broadcasts keep their own order; they do not wait behind what is held for one renderer.
        """
        self._checked().send(Kind.BROADCAST, MAIN, None, check_channel(channel), self._encode(list(args)))

    async def peers(self) -> list[PeerInfo]:
        """Return the other renderers that are connected. Safe to cancel."""
        found: Any = await self._invoke(Kind.QUERY, MAIN, "peers", (), None)
        return [PeerInfo(id, name) for id, name in found]

    async def status(self) -> dict[str, Any]:
        """Return what the broker tells of itself: pid, renderers, channels of the main process. Safe to cancel."""
        found: dict[str, Any] = await self._invoke(Kind.QUERY, MAIN, "status", (), None)
        return found

    # Public: receiving

    def listen(
        self, channel: str, max_queue: int = 1024, *, senders: Senders = "main"
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Return an async iterator of `(event, *args)`, one for each message on a channel from now on.

        Args:
            channel: The channel.
            max_queue: Messages that may wait to be taken; then their senders are slowed down, and none is dropped.
            senders: Whose messages: "main", "renderers" or "any".
        """
        incoming = Incoming(max_queue)
        incoming.registration = self.on(channel, incoming.put, senders=senders)
        self._arrivals.incoming.add(incoming)
        return incoming

    async def wait_for(
        self, channel: str, timeout: float | None = None, *, senders: Senders = "main"
    ) -> tuple[Any, ...]:
        """Wait for the next message on a channel and return `(event, *args)`. Safe to cancel.

        Args:
            channel: The channel.
            timeout: Seconds until `InvokeTimeout`, or None.
            senders: Whose messages: "main", "renderers" or "any".

        Raises:
            InvokeTimeout: None came in time.
            ObjectDestroyedError: The renderer was closed meanwhile; `ConnectionLost` if it was lost for good.
        """
        check_timeout(timeout)
        future: asyncio.Future[tuple[Any, ...]] = self._checked().loop.create_future()

        def take(*message: Any) -> None:
            if not future.done():
                future.set_result(message)

        self._arrivals.waiting.add(future)
        try:
            with self.once(channel, take, senders=senders):
                async with asyncio.timeout(timeout):
                    message = await future
        except TimeoutError:
            assert timeout is not None
            raise InvokeTimeout(channel, timeout) from None
        finally:
            self._arrivals.waiting.discard(future)
        if not message:
            self._checked()
        return message

    async def drain(self, target: int | str | None = None) -> None:
        """Wait until what was sent has left, and the target (None: every one) keeps up. Safe to cancel."""
        await self._checked().drain(target)

    # Private

    async def _open(self) -> Self:
        if self._released:
            raise released()
        if self._session is not None:
            raise LocalProtocolError("this renderer was opened already; connect() makes another")
        session = self._session = Session(self._address, self._name, self._token, self._reconnect, self._arrivals)
        self._owner = Owner("this renderer")
        self._arrivals.attach(session)
        try:
            await session.open(self._connect_timeout)
        except BaseException:
            self._session = None
            raise
        if self._watching:
            session.watch()
        # The task that opened it goes on first, and registers what it likes.
        session.loop.call_soon(self._arrivals.start)
        return self

    def _watch(self) -> None:
        self._watching = True
        if self._session is not None:
            self._session.watch()

    def _check_thread(self) -> None:
        if self._owner is not None:
            self._owner.check()

    def _opened(self) -> Session:
        if self._session is None:
            if self._released:
                raise released()
            raise LocalProtocolError("not connected yet: use `async with` or `await` on what connect() returned")
        return self._session

    def _checked(self) -> Session:
        session = self._opened()
        self._check_thread()
        session.check()
        return session

    def _add_listener(self, *args: Any, **options: Any) -> Any:
        self._check_registering()
        return super()._add_listener(*args, **options)

    def _add_handler(self, *args: Any, **options: Any) -> Any:
        self._check_registering()
        return super()._add_handler(*args, **options)

    def _check_registering(self) -> None:
        """Registering is allowed before there is a connection, and while it is lost."""
        self._check_thread()
        if self._released:
            raise released()

    def _encode(self, args: list[object]) -> bytes:
        welcome = self._opened().welcome
        assert welcome is not None
        return clone.encode(args, max_depth=welcome.limits.depth)

    def _invoke(
        self, kind: Kind, target: int | str, channel: str, args: Sequence[object], timeout: float | None
    ) -> Reply:
        session = self._checked()
        check_timeout(timeout)
        peer, name = check_target(target)
        raw = check_channel(channel)
        return session.invoke(kind, peer, name, channel, raw, self._encode(list(args)), timeout)


class ConnectionEvents(Emitter):
    """Tells the renderer when somebody wants to know who joins and leaves: only then the broker says it."""

    __slots__ = ("on_peers",)

    on_peers: Any

    def _register(self, event: str, fn: Any, once: bool) -> Any:
        registration = super()._register(event, fn, once)
        if event in ("peer-joined", "peer-left"):
            self.on_peers()
        return registration


def check_name(name: str) -> str:
    """Return a renderer's name if it is one.

    Raises:
        TypeError: It is no str.
        ValueError: It has not 1 to 255 bytes of UTF-8.
    """
    if not isinstance(name, str):
        raise TypeError(f"Expected name to be a str, but found type {type(name).__name__!r}")
    if not 1 <= len(name.encode("utf-8", "replace")) <= 255 or any("\ud800" <= char <= "\udfff" for char in name):
        raise ValueError(f"Expected a renderer's name of 1 to 255 bytes of UTF-8, but found {name!r}")
    return name


def check_target(target: int | str) -> tuple[int, str | None]:
    """Return a target as its id, or as 0 and its name.

    Raises:
        TypeError: It is neither an id nor a name.
        ValueError: No renderer can have that id or name.
    """
    if isinstance(target, str):
        return MAIN, check_name(target)
    if isinstance(target, bool) or not isinstance(target, int):
        raise TypeError(f"Expected target to be a renderer's id or name, but found type {type(target).__name__!r}")
    if not 0 <= target <= MAX_U32:
        raise ValueError(f"Expected a renderer's id, but found {target}")
    return target, None
