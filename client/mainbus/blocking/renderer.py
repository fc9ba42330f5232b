"""BlockingRenderer: the API of a renderer for threads, and nothing else."""

from __future__ import annotations

from functools import partial
from typing import Any, Self

from mainbus.address import Address
from mainbus.blocking.arrivals import Arrivals
from mainbus.blocking.frame import Frames
from mainbus.blocking.guest import BlockingGuest
from mainbus.blocking.loop import LoopThread
from mainbus.blocking.port_end import Home
from mainbus.blocking.ports import MessagePort
from mainbus.blocking.registry import LockedEvents
from mainbus.blocking.renderer_ports import BlockingPorts
from mainbus.blocking.sync_lane import SyncCall, SyncLane
from mainbus.blocking.waiter import Waiter
from mainbus.blocking.work import Work
from mainbus.channels import check_channel
from mainbus.errors import ConnectionLost, LocalProtocolError
from mainbus.names import check_name
from mainbus.renderer import PeerInfo
from mainbus.session import Session
from mainbus.timeouts import check_timeout
from mainbus.wire.packets import HOST, MAIN, Kind


class BlockingRenderer(Frames):
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
        "_name",
        "_reconnect",
        "_session",
        "_token",
        "_watching",
        "events",
        "home",
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
        self.events = LockedEvents(self)
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
        self.home = Home(MessagePort, self._loop, self._work)
        self._arrivals = Arrivals(self, self, self.events, self._loop, self._work, self._lose_lane)

    # Public: life

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> Self:
        """Connect, and begin to run listeners; returns the renderer itself.

        Returns:
            The renderer, so that it can be opened where it is made.

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
        """Return counters, and how much there is of what comes and goes; sizes in bytes.

        Raises:
            LocalProtocolError: It was not opened yet.
        """
        session = self._opened()
        return {
            "pending": len(session.calls) - session.calls.streams,
            "streams": session.calls.streams + self._arrivals.streams,
            "queued": session.outbox.queued + self._loop.waiting_bytes,
            "held": session.outbox.held,
            "pooled": session.pooled,
            "running": self._work.running,
            "waiting": len(self._work),
            "reconnects": session.reconnects,
            "pauses": session.pauses,
            "timeouts": session.calls.expired,
            "gaps": self._arrivals.told["gap"],
            "undeliverable": self._arrivals.told["undeliverable"],
            "message_errors": self._arrivals.told["message-error"],
        }

    # Public: what the broker knows

    def peers(self) -> list[PeerInfo]:
        """Return the other renderers that are connected.

        Raises:
            ConnectionLost: The connection was lost meanwhile.
        """
        return [PeerInfo(id, name) for id, name in self._invoke(Kind.QUERY, MAIN, "peers", (), None)]

    def status(self) -> dict[str, Any]:
        """Return what the broker tells of itself: versions, limits, renderers, channels.

        Raises:
            ConnectionLost: The connection was lost meanwhile.
        """
        found: dict[str, Any] = self._invoke(Kind.QUERY, MAIN, "status", (), None)
        return found

    def granted(self, verb: str, channel: str) -> bool:
        """Return whether this renderer's role, if it has one, lets it do something.

        Args:
            verb: "send", "invoke", "handle", "listen", "send_to", "broadcast", "direct" or "monitor".
            channel: The channel.

        Raises:
            ConnectionLost: The connection was lost meanwhile.
            ValidationError: There is no such verb.
            TypeError: The channel is not of 1 to 255 bytes of UTF-8.
        """
        check_channel(channel)
        found: bool = self._invoke(Kind.QUERY, MAIN, "granted", (verb, channel), None)
        return found

    # Public: guests and hosts

    def create_guest(self, name: str | None = None) -> BlockingGuest:
        """Return a guest: whoever connects with its token is a renderer of whom this one is the host.

        Args:
            name: The name that the guest will have; None lets it choose.

        Raises:
            LimitExceeded: This renderer has as many guests as the broker allows.
            ValueError: The name is not of 1 to 255 bytes of UTF-8.
        """
        session = self._waiting()
        checked = check_name(name) if name is not None else None
        made: list[BlockingGuest] = []

        def start(waiter: Waiter) -> None:
            session.check()
            made.append(BlockingGuest(self, session, session.hosting.next_number(), checked))
            waiter.follow(session.hosting.ask(session, made[0]._state))

        self._loop.wait(start)
        return made[0]

    def send_to_host(self, channel: str, *args: object) -> None:
        """Send a message to the host of this guest, where it is an "ipc-message"; returns at once. As `send`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            LocalProtocolError: This renderer is no guest, or its host is not connected at this moment.
            ObjectDestroyedError: The host has left.
        """
        self._send(Kind.SEND, self._checked().hosting.host(), channel, args, HOST)

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

    # Private: any thread

    def _opened(self) -> Session:
        self._loop.check()
        if self._session is None:
            raise LocalProtocolError("not connected yet: use `with` or `open()` on what connect() returned")
        return self._session

    def _is_over(self) -> bool:
        return self._work.is_over

    def _renderer_of(self) -> BlockingRenderer:
        return self

    def _dispatch(self) -> None:
        self._dispatching = True
        self._loop.post(self._opened().start_dispatch)

    def _watch(self) -> None:
        self._watching = True
        if self._session is not None:
            self._loop.post(self._session.watch)

    # Private: the reader thread

    async def _connect(self) -> None:
        ports = partial(BlockingPorts, self.home, self._loop)
        session = Session(self._address, self._name, self._token, self._reconnect, self._arrivals, ports)
        self._arrivals.session = session
        if self._watching:
            session.watch()
        await session.open(self._connect_timeout)
        self._session = session
        # Another thread may have begun to listen meanwhile.
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
