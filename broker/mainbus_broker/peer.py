"""One renderer's connection: what it has sent and not been served, what waits for it, and what it owes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainbus.calls import Calls
from mainbus.errors import ReplyNeverSent
from mainbus.inbox import Inbox
from mainbus.reading import read_in_place
from mainbus.routes import Route
from mainbus.wire.connection import Connection
from mainbus.wire.packets import MAIN, MAX_U32, Kind, build

from mainbus_broker.breath import Breath
from mainbus_broker.debts import FAULT, UNREAD
from mainbus_broker.farewell import Farewell
from mainbus_broker.listeners import Process
from mainbus_broker.partners import NOBODY, Peers
from mainbus_broker.peer_ports import PeerPorts
from mainbus_broker.quick import PeerCore
from mainbus_broker.turns import LEAST_PACKETS, LONG_WAY, POLITE_TURNS, TURN_PACKETS, share

if TYPE_CHECKING:
    from mainbus.ports import MessagePort
    from mainbus.reply import Reply

    from mainbus_broker.descriptor_end import DescriptorEnd
    from mainbus_broker.hosting import Link
    from mainbus_broker.hub import Hub
    from mainbus_broker.policy import Policy

log = logging.getLogger("mainbus.broker")


class Peer(PeerCore, asyncio.Protocol):
    """A welcomed renderer, from the broker's side.

    Registries hold what concerns several peers; a peer holds what dies with its own connection. What most renderers
    never need is None until it is.
    """

    __slots__ = (
        "_calm",
        "_polite",
        "_waits",
        "bad_messages",
        "by_lane",
        "descriptors",
        "guests",
        "hosted",
        "incidents",
        "joined",
        "key",
        "lane_nonces",
        "limits",
        "name",
        "once",
        "partners",
        "ports",
        "posting",
        "process",
        "progress",
        "refusals",
        "role",
        "said_goodbye",
        "secret",
        "serve",
        "shared",
        "takes_pools",
        "transport",
        "unfinished",
    )

    def __init__(
        self, hub: Hub, peer_id: int, name: str | None, process: Process, wire: Connection, transport: asyncio.Transport
    ) -> None:
        super().__init__(hub, peer_id, name.encode() if name else b"", wire)
        self.limits = hub.config.limits
        self.name = name
        self.role: str | None = None
        self.policy = None
        """What its role allows; None: everything."""
        self.refusals: set[tuple[str, bytes]] | None = None
        """What was refused and logged: verbs and channels."""
        self.incidents: set[str] | None = None
        """What it was refused since there were too many, and what of that was logged."""
        self.serve = hub.serve
        """Serves its packets; those of a renderer with a role go through the gate first."""
        self.process = process
        wire.owner, wire.taker = self, hub.router.taker
        self.transport = transport
        self.secret = b""
        """With it a new connection can continue this one's session."""
        self.lane_nonces: tuple[bytes, ...] = ()
        """What opens its next lane: two, as long as the latest lane has not shown that it knows the newer one."""
        self.key: bytes | None = None
        """What opens its connection for descriptors; None if it gets none."""
        self.takes_pools = False
        """Whether it can send and get large messages in shared memory."""
        self.descriptors: DescriptorEnd | None = None
        self.by_lane = False
        """Whether what is served at this moment came on the lane, which is read only where there is room."""
        self.once = 0
        """The last of the numbers that are taken once, whether they come on the lane or not."""
        self.joined = hub.loop.time()
        self.partners: Peers = NOBODY
        """Renderers that it has exchanged anything with: when either dies, something between them may be lost."""
        self.oneway = NOBODY
        """Those of them that have sent it one-way messages."""
        self.heard = NOBODY
        """Those of them that have invoked it, or answered it."""
        self.streams = None
        """The large messages that it is sending to others, by what leads to them."""
        self.unfinished = 0
        """How many of them there are."""
        self.ports: PeerPorts | None = None
        """Its ends of message channels."""
        self.posting: Sequence[MessagePort] = ()
        """The ports of a message to the main process that has come in part."""
        self.pausing = None
        """Those who were asked to send it nothing for now, by id."""
        self.hosted: Link | None = None
        """What binds it to its host, if it is a guest."""
        self.guests: dict[int, Link] | None = None
        """What binds its guests to it, by their numbers."""
        self.said_goodbye = False
        """Whether it has left, and will not come back."""
        self.bad_messages = 0
        self.progress = (0, self.joined)
        """Bytes that it had read when it was last seen to read, and when that was."""
        self.shared = 0
        """Bytes of broadcasts to it, of which some may wait, since stock was taken: others have the same bytes."""
        self._calls = None
        self._inbox = None
        self._route = None
        self._calm = 0
        """What those who had no more to say than fitted had been served when this one had its turn."""
        self._polite = 0
        self._waits: asyncio.TimerHandle | None = None

    # Public

    def attach(self) -> None:
        """Let what is queued leave."""
        self.outbox.attach(self.transport)
        # The welcome was the first.
        self.outbox.written = 1

    def start(self) -> None:
        """Serve what has arrived behind the hello, in the next turn; mostly it is nothing."""
        if self.wire.backlog or self.wire.failure is not None:
            self._schedule()

    @property
    def label(self) -> str:
        """The peer as the log names it."""
        name = f" ({self.name})" if self.name else ""
        return f"renderer {self.id}{name} pid {self.process.pid}"

    @property
    def route(self) -> Route:
        """What the main process has for this renderer."""
        if self._route is None:
            self._route = Route(self.outbox, self.limits.running)
        return self._route

    @property
    def inbox(self) -> Inbox:
        """What this renderer has for the main process."""
        if self._inbox is None:
            self._inbox = Inbox(self._hub.loop, self.limits.running, self._on_low)
        return self._inbox

    @property
    def has_inbox(self) -> bool:
        """Whether `inbox` was ever needed."""
        return self._inbox is not None

    @property
    def queued(self) -> int:
        """Bytes that wait for this renderer."""
        return self.outbox.size + (self._route.size if self._route is not None else 0)

    @property
    def calls(self) -> Calls:
        """What the main process has invoked there and awaits."""
        if self._calls is None:
            self._calls = Calls(self._hub.loop, self._cancel)
        return self._calls

    @property
    def has_calls(self) -> bool:
        """Whether `calls` was ever needed."""
        return self._calls is not None

    @property
    def port_owner(self) -> PeerPorts:
        """This renderer as an owner of ports."""
        if self.ports is None:
            self.ports = PeerPorts(self, self._hub.ports, self._hub.config.limits.ports)
        return self.ports

    def restrict(self, policy: Policy) -> None:
        """Let pass only what its role allows."""
        self.policy = policy
        self.refusals = set()
        self.serve = self._hub.gate.serve
        self.wire.taker = None

    def take_once(self, number: int) -> bool:
        """Take a number; False if it was taken before."""
        if number <= self.once:
            return False
        self.once = number
        return True

    def close_slow(self) -> None:
        """Close it, since it does not read what it gets."""
        if not self.closing:
            self._hub.close_slow(self.contents)

    def no_memory(self) -> None:
        """Close it, since there is no memory for what it sends: that was within its limits, and nobody's fault."""
        self._hub.counters["out_of_memory"] += 1
        self.evict("there is no memory for what it has sent", blame=False)

    def evict(self, reason: str, *, blame: bool = True) -> None:
        """Close it, to have the memory that it takes. Arguments as of `close`."""
        # First: what has come of large messages is what there is to be freed.
        self.wire.fail(reason)
        self.close(reason, blame=blame)

    def put_credit(self, credit: int) -> None:
        """Tell the renderer how many invokes of the main process it may have unanswered from now on."""
        self.outbox.put(build(Kind.CREDIT, MAIN, value=credit))

    def demand(self, request: int, credit: int) -> None:
        """Let a stream that the main process has asked for go on."""
        if not self.closing:
            self.outbox.put(build(Kind.DEMAND, MAIN, request, value=credit))

    def close(self, reason: str, *, blame: bool = False, stops: bool = False) -> None:
        """Say goodbye and why, and end the connection. What was queued leaves if the renderer reads it in time.

        Args:
            reason: For the renderer's "disconnected" event, and for the log.
            blame: Whether the renderer is at fault; logged as a warning then.
            stops: Whether the broker stops, so that nothing will be answered any more.
        """
        if self.closing:
            return
        self._serve_no_more()
        log.log(logging.WARNING if blame else logging.INFO, "closing %s: %s", self.label, reason)
        value = ReplyNeverSent.wire_code if stops else 0
        # What waits in the route first: nothing is read behind a goodbye.
        self.outbox.flush()
        self.outbox.put(build(Kind.GOODBYE, MAIN, value=value, body=reason.encode()))
        self.outbox.flush()
        self._hub.gone(self, clean=False)
        if blame:
            self._hub.counters["faults"] += 1
            self._hub.debts.charge(self.process, FAULT)
        # At fault it is owed nothing: what the kernel has not taken is given up. A pipe takes the goodbye a turn later.
        if blame and self.transport.can_write_eof():
            self.transport.abort()
            self.outbox.detach()
            self.outbox.drop()
        else:
            self._part()

    def leave(self, received: int) -> None:
        """Answer a goodbye. `received`: the packets that the renderer has had, to tell whether it missed any."""
        self.closing = self.said_goodbye = True
        clean = self.outbox.idle and received == self.outbox.written & MAX_U32
        log.info("%s said goodbye", self.label)
        self._hub.gone(self, clean=clean)
        self.outbox.put(build(Kind.GOODBYE, MAIN))
        self._part()

    # Callbacks

    def eof_received(self) -> bool:
        """Close: nothing can be answered to a renderer that has shut down its half."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell everybody concerned."""
        if not self.closing:
            self._serve_no_more()
            log.info("%s is gone%s", self.label, f": {exc}" if exc else "")
            self._hub.gone(self, clean=False)
        self.outbox.detach()

    def pause_writing(self) -> None:
        """Pass it on."""
        self.outbox.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self.outbox.resume_writing()

    # Private

    def _receive_out_of_turn(self, data: bytes) -> None:
        self.wire.feed(data)
        if not self._scheduled:
            # For what others have answered meanwhile it has to wait.
            self._turn(0, 0, self.wire.received)

    def _go_on(self, count: int, size: int, before: int) -> None:
        self._turn(count, size, before)
        # Whoever was closed has its farewell in front.
        if self.wire.expects_large and not self.closing:
            self._read_in_place()

    def _count_unread(self, size: int) -> None:
        # Most of it has long been read, as a rule.
        self.unread = self.queued
        if self.unread > self.limits.backlog:
            # Not amid what is being served.
            self._hub.loop.call_soon(self.close_slow)
        elif self.unread > self.limits.hard and self._hub.debts.charge(self.process, size * UNREAD):
            self.owes = True

    def _serve_no_more(self) -> None:
        self.closing = True
        if self._waits is not None:
            # It would keep this alive until it is due.
            self._waits.cancel()

    def _part(self) -> None:
        self.outbox.hand_over()
        self.outbox.detach()
        # A connection that was lost as it was written to has nobody to wait for.
        if not self.transport.is_closing():
            Farewell(self._hub, self.transport)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._load.hungry += 1
            self._hub.loop.call_soon(self._hungry_turn)

    def _hungry_turn(self) -> None:
        load = self._load
        load.hungry -= 1
        others, self._calm = load.calm - self._calm, load.calm
        self._polite = POLITE_TURNS if others else max(0, self._polite - 1)
        # No more than all those who are content with less, if there are any: else each of them would wait in every turn
        # for as much as fits into one.
        self._next_turn(max(others, LEAST_PACKETS) if self._polite else TURN_PACKETS)

    def _next_turn(self, most: int = TURN_PACKETS) -> None:
        self._scheduled = False
        if not self.closing:
            count, size = share(self._load.hungry, most) if not self.owes else (0, 0)
            self._turn(count, size, self.wire.received)

    def _turn(self, count: int, size: int, before: int) -> None:
        wire = self.wire
        serve = self.serve
        try:
            for head, data, at in wire.packets(count, size, LONG_WAY):
                serve(self, head, data, at)
                if self.closing:
                    return
                if self.owes:
                    break
        except MemoryError:
            self.no_memory()
            return
        if self.closing:
            return
        if wire.failure is not None:
            self.close(str(wire.failure), blame=True)
            return
        if self.lane is not None:
            self.lane.look_again()
        if self.owes:
            self.owes = False
            self._stop_reading()
            self._scheduled = True
            self._waits = self._hub.loop.call_later(self._hub.debts.wait(self.process), self._next_turn)
        elif wire.backlog:
            self._stop_reading()
            self._schedule()
        else:
            self._load.calm += wire.received - before
            if not self.is_read:
                self.is_read = True
                self.transport.resume_reading()

    def _read_in_place(self) -> None:
        read_in_place(
            self.wire,
            self,
            self.transport,
            reserved=self._hub.holdings.added,
            filled=Breath(self._hub, self).take,
            failed=self.no_memory,
        )

    def _stop_reading(self) -> None:
        if self.is_read:
            self.is_read = False
            self.transport.pause_reading()

    def _on_low(self) -> None:
        if self.inbox.size < self._hub.config.limits.low:
            self._hub.flow.main_takes(self)
        if self.lane is not None:
            self.lane.look_again()

    def _cancel(self, reply: Reply) -> None:
        packet = build(Kind.CANCEL, MAIN, reply.request)
        if not self.route.put_behind(reply.request, packet):
            self.outbox.put(packet)
