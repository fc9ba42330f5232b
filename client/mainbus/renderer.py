"""IpcRenderer: the API of a renderer, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Final, NamedTuple, Protocol, Self

from mainbus.address import Address, default_address, parse
from mainbus.arrivals import Arrivals
from mainbus.channels import check_channel
from mainbus.emitter import Emitter
from mainbus.errors import LocalProtocolError
from mainbus.frame import Frames
from mainbus.guest import Guest
from mainbus.leaving import Leaving
from mainbus.names import check_name
from mainbus.ownership import Owner, owner
from mainbus.released import released
from mainbus.session import Session
from mainbus.verbs import encode
from mainbus.wire.packets import HOST, MAIN, Kind

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
    """Its id, from 1."""
    name: str | None
    """The name that it has connected with, or None."""


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


class IpcRenderer(Frames):
    """Electron's `ipcRenderer`: this process as a renderer. Made by `connect`.

    Every object belongs to the thread of its loop.

    Attributes:
        events: What happens to the connection itself, apart from the channels: "disconnected" (reason),
            "reconnected", "gap", "undeliverable" (target, channel, reason), "message-error" (sender_id, channel),
            "peer-joined" (id, name) and "peer-left" (id, name).
    """

    __slots__ = (
        "_address",
        "_connect_timeout",
        "_leaving",
        "_name",
        "_owner",
        "_reconnect",
        "_released",
        "_session",
        "_token",
        "_watching",
        "events",
    )

    _arrivals: Arrivals

    def __init__(
        self, address: Address, name: str | None, token: str | None, connect_timeout: float, reconnect: bool
    ) -> None:
        super().__init__()
        self.events = ConnectionEvents(self)
        self._address = address
        self._name = name
        self._token = token
        self._connect_timeout = connect_timeout
        self._reconnect = reconnect
        self._arrivals = Arrivals(self, self, self.events)
        self._session: Session | None = None
        self._owner: Owner | None = None
        self._leaving: Leaving | None = None
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
        """Return counters, and how much there is of what comes and goes; sizes in bytes.

        Raises:
            LocalProtocolError: It was not opened yet.
        """
        session = self._opened()
        return {
            "pending": len(session.calls) - session.calls.streams,
            "streams": session.calls.streams + self._arrivals.streams,
            "queued": session.outbox.queued,
            "held": session.outbox.held,
            "pooled": session.pooled,
            "running": self._arrivals.running,
            "direct_ports": session.ports.direct_count,
            "reconnects": session.reconnects,
            "pauses": session.pauses,
            "timeouts": session.calls.expired,
            "gaps": self._arrivals.told.get("gap", 0),
            "undeliverable": self._arrivals.told.get("undeliverable", 0),
            "message_errors": self._arrivals.told.get("message-error", 0),
        }

    # Public: what the broker knows

    async def peers(self) -> list[PeerInfo]:
        """Return the other renderers that are connected. Safe to cancel.

        Raises:
            ConnectionLost: The connection was lost meanwhile.
        """
        found: Any = await self._request(Kind.QUERY, MAIN, "peers", (), None)
        return [PeerInfo(id, name) for id, name in found]

    async def status(self) -> dict[str, Any]:
        """Return what the broker tells of itself: versions, limits, renderers, channels. Safe to cancel.

        Raises:
            ConnectionLost: The connection was lost meanwhile.
        """
        found: dict[str, Any] = await self._request(Kind.QUERY, MAIN, "status", (), None)
        return found

    async def granted(self, verb: str, channel: str) -> bool:
        """Return whether this renderer's role, if it has one, lets it do something. Safe to cancel.

        Args:
            verb: "send", "invoke", "handle", "listen", "send_to", "broadcast", "direct" or "monitor".
            channel: The channel.

        Raises:
            ConnectionLost: The connection was lost meanwhile.
            ValidationError: There is no such verb.
            TypeError: The channel is not of 1 to 255 bytes of UTF-8.
        """
        check_channel(channel)
        found: bool = await self._request(Kind.QUERY, MAIN, "granted", (verb, channel), None)
        return found

    # Public: guests and hosts

    async def create_guest(self, name: str | None = None) -> Guest:
        """Return a guest: whoever connects with its token is a renderer of whom this one is the host.

        Args:
            name: The name that the guest will have; None lets it choose.

        Raises:
            LimitExceeded: This renderer has as many guests as the broker allows.
            ValueError: The name is not of 1 to 255 bytes of UTF-8.

        Safe to cancel: there is no such guest then.
        """
        session = self._checked()
        guest = Guest(self, session.hosting.next_number(), check_name(name) if name is not None else None)
        await session.hosting.ask(session, guest._state)
        return guest

    def send_to_host(self, channel: str, *args: object) -> None:
        """Send a message to the host of this guest, where it is an "ipc-message"; returns at once. As `send`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            LocalProtocolError: This renderer is no guest, or its host is not connected at this moment.
            ObjectDestroyedError: The host has left.
        """
        session = self._checked()
        raw, body = check_channel(channel), encode(session, args)
        session.send(Kind.SEND, session.hosting.host(), None, raw, body, flags=HOST)

    # Private

    async def _open(self) -> Self:
        if self._released:
            raise released()
        if self._session is not None:
            raise LocalProtocolError("this renderer was opened already; connect() makes another")
        session = self._session = Session(self._address, self._name, self._token, self._reconnect, self._arrivals)
        self._owner = owner("this renderer")
        self._leaving = session.leaving
        self._arrivals.attach(session)
        if self._watching:
            session.watch()
        try:
            await session.open(self._connect_timeout)
        except BaseException:
            self._session = self._leaving = None
            raise
        # The task that opened it goes on first, and registers what it likes.
        session.loop.call_soon(self._arrivals.start)
        return self

    @property
    def _is_over(self) -> bool:
        """Whether nothing can be said any more."""
        return self._released or (self._session is not None and self._session.is_over)

    def _renderer_of(self) -> IpcRenderer:
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
        session = self._session
        if session is None or self._owner is None:
            session = self._opened()
        else:
            self._owner.check()
        session.check()
        return session

    def _check_registering(self) -> None:
        """Registering is allowed before there is a connection, and while it is lost."""
        self._check_thread()
        if self._released:
            raise released()


class Watching(Protocol):
    """A renderer, of whatever kind."""

    def _watch(self) -> None: ...


class ConnectionEvents(Emitter):
    """Tells the renderer when somebody wants to know who joins and leaves: only then the broker says it."""

    __slots__ = ("_renderer",)

    def __init__(self, renderer: Watching) -> None:
        super().__init__(EVENTS)
        self._renderer = renderer

    def _register(self, event: str, fn: Any, once: bool) -> Any:
        registration = super()._register(event, fn, once)
        if event in ("peer-joined", "peer-left"):
            self._renderer._watch()
        return registration
