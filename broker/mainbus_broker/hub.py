"""What the parts of one broker share: its registries, and what happens when a renderer comes or goes."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mainbus import shared_memory
from mainbus.deadlines import Deadlines
from mainbus.errors import ConnectRefused, MainbusError, NameTaken, PermissionDenied, ReplyNeverSent, TooManyRequests
from mainbus.lane_threads import BROKER_THREADS
from mainbus.ownership import Owner
from mainbus.wire import clone
from mainbus.wire.connection import Connection
from mainbus.wire.messages import DIRECT, FEATURES, POOLS, Hello, Welcomes, WireLimits
from mainbus.wire.packets import MAIN, Kind, build

from mainbus_broker.config import Config
from mainbus_broker.contents_registry import WebContentsRegistry
from mainbus_broker.debts import Debts
from mainbus_broker.demands import Demands
from mainbus_broker.direct_pairs import DirectPairs
from mainbus_broker.flow import Flow
from mainbus_broker.gate import Gate
from mainbus_broker.holdings import Holdings
from mainbus_broker.hosting import Hosting
from mainbus_broker.ipc_main import IpcMain
from mainbus_broker.listeners import Process, can_hand_over, same_user
from mainbus_broker.main_ports import MainPorts
from mainbus_broker.main_process import MainProcess
from mainbus_broker.partners import NOBODY, parted
from mainbus_broker.peer import Peer
from mainbus_broker.policy import Policies, Policy
from mainbus_broker.port_table import PortTable
from mainbus_broker.quick import Load
from mainbus_broker.quota import Quota
from mainbus_broker.renderers import Renderers
from mainbus_broker.replies import Replies
from mainbus_broker.router import Router
from mainbus_broker.shared_pools import SharedPools
from mainbus_broker.tokens import Tokens
from mainbus_broker.web_contents import WebContents

if TYPE_CHECKING:
    from mainbus_broker.entrance import Entrance
    from mainbus_broker.farewell import Farewell

_SECRET: Final = 16

log = logging.getLogger("mainbus.broker")


class Hub:
    """One broker without its sockets.

    Args:
        ipc_main: The listeners and handlers of the main process.
        config: Limits and times.
        emit: Called with a broker event and its arguments.
    """

    def __init__(self, ipc_main: IpcMain, config: Config, emit: Callable[..., object]) -> None:
        self.loop = asyncio.get_running_loop()
        self.started = self.loop.time()
        self.config = config
        self.emit = emit
        self.instance = secrets.token_bytes(_SECRET)
        """Tells this broker from another one at the same address."""
        self.renderers = Renderers()
        self.load = Load(config.limits.total // 2)
        self.entering: dict[int, Entrance] = {}
        """Connections before their handshake, by number."""
        self.handshakes = Deadlines(self.loop, self.entering.__contains__, self._too_late)
        """Until when they must have said who they are, by number: a deadline that is not due must keep nobody alive."""
        self.leaving: dict[Farewell, asyncio.Future[None]] = {}
        """Connections after the goodbye, until they are closed; each takes a bounded time for it."""
        self.stopping = False
        self.tokens = Tokens()
        self.policies = Policies(config.roles)
        self.quota = Quota(self)
        self.holdings = Holdings(self)
        self.debts = Debts(self.loop)
        self.web_contents = WebContentsRegistry(self)
        self.hosting = Hosting(self)
        self.flow = Flow(self)
        self.demands = Demands(self)
        self.replies = Replies(self.loop)
        self.ports = PortTable(config.limits.message)
        self.direct_pairs = DirectPairs(self)
        self.shared_pools = SharedPools(self)
        self.main_ports = MainPorts(self.ports, config.limits.message)
        self.main = MainProcess(self, ipc_main)
        self.router = Router(self)
        self.serve = self.router.serve
        """One for all renderers without a role."""
        self.gate = Gate(self)
        limits = config.limits
        self._welcomes = Welcomes(
            instance=self.instance,
            credit=limits.running,
            limits=WireLimits(
                message=limits.message,
                depth=limits.depth,
                pending=limits.pending,
                ports=limits.ports,
                direct=limits.direct,
                direct_after=limits.direct_after,
                pool=limits.pool,
            ),
        )
        self.counters: Counter[str] = Counter()
        self.owner = Owner("this broker")
        self._watchdog: asyncio.TimerHandle | None = None

    # Public

    def start(self) -> None:
        """Watch for renderers that stall."""
        BROKER_THREADS[self.instance] = threading.get_ident()
        self.main.ipc_main.belong_to(self.owner)
        self._watch()

    def stop(self) -> None:
        """End the watch. Every renderer must be gone."""
        BROKER_THREADS.pop(self.instance, None)
        self.main.ipc_main.let_go(self.owner)
        if self._watchdog is not None:
            self._watchdog.cancel()
        self.handshakes.clear()
        self.main_ports.close_all()
        assert not self.renderers, "renderers are left at the end"
        self.replies.close()
        self.main.close()
        assert not self.hosting, "guests are left at the end"

    def welcome(
        self, hello: Hello, process: Process, address: str, wire: Connection, transport: asyncio.Transport
    ) -> Peer:
        """Admit a renderer, or raise why not.

        Raises:
            PermissionDenied: Its role does not grant the name.
            TooManyRequests: There are as many renderers as there may be.
            NameTaken: Another renderer has the name.
            ConnectRefused: The token is not one that was given out, or was used before.
        """
        name, given = hello.name, None
        role: str | None = None
        secret = hello.session if hello.instance == self.instance else None
        former = self.renderers.by_secret(secret)
        if former is not None:
            role, given = former.role, former.name
        elif secret is not None:
            role, given = self.renderers.lost(secret)
        token = hello.token if hello.session is None else None
        if token is not None and self.policies.knows_token(token):
            # No one-time token: it stands in the config, for any number of renderers.
            token = None
        if token is not None:
            name, role, link = self.tokens.redeem(token, name, use=False)
            if link is None:
                given = name
            elif link.host is not None:
                # Whoever opens a second connection has no more rights there.
                role = link.host.role
        if role is None:
            role = self.policies.role_of(process, address, hello.token)
        policy = self._check(process, role, name if name != given else None)
        if name is not None and not 1 <= len(name.encode("utf-8", "surrogatepass")) <= 255:
            raise ConnectRefused("this broker", "a name has 1 to 255 bytes of UTF-8")
        if former is not None:
            former.close("replaced by a reconnect")
        if name is not None and name in self.renderers.names:
            raise NameTaken(name)
        if (crowd := self.quota.no_room(process, again=former is not None)) is not None:
            raise crowd
        # Not before the name is found to be free: whoever is refused for that may come again.
        link = self.tokens.redeem(token, name).link if token is not None else None
        peer = Peer(self, self.renderers.next_id(), name, process, wire, transport)
        peer.role = role
        if policy is not None:
            peer.restrict(policy)
        random = os.urandom(3 * _SECRET)
        peer.secret = random[:_SECRET]
        peer.lane_nonces = (random[_SECRET:-_SECRET],)
        features = self._features(hello, transport, policy)
        if features:
            peer.key = random[-_SECRET:]
            peer.takes_pools = POOLS in features
        self.renderers.add(peer)
        self.hosting.admit(peer, link, hello.guest)
        host = peer.hosted.host if peer.hosted is not None else None
        wire.sent(Kind.WELCOME)
        transport.write(
            self._welcomes.pack(
                id=peer.id,
                session=peer.secret,
                lane=peer.lane_nonces[0],
                name=name,
                host=host.id if host is not None else None,
                guest=peer.hosted.secret if peer.hosted is not None else None,
                descriptors=peer.key,
                features=(*FEATURES, *features),
            )
        )
        # From here on the renderer can be sent to, and closed with a reason.
        transport.set_protocol(peer)
        peer.attach()
        peer.contents = WebContents(self, peer)
        self.counters["connections"] += 1
        if log.isEnabledFor(logging.INFO):
            log.info("%s connected", peer.label)
        if hello.token is not None:
            self.tokens.connected(hello.token, peer.contents)
        # Before the application hears of it, which may close it at once.
        self._tell_watchers(Kind.JOINED, peer)
        if hello.watch:
            self.renderers.watchers.add(peer)
        self.emit("web-contents-created", peer.contents)
        return peer

    def _features(self, hello: Hello, transport: asyncio.Transport, policy: Policy | None) -> list[str]:
        """Return what a renderer can do that needs descriptors, and may."""
        if not can_hand_over(transport):
            return []
        features = []
        if self.config.direct_ports and DIRECT in hello.features and (policy is None or policy.may_be_direct):
            features.append(DIRECT)
        if self.config.shared_memory and shared_memory.AVAILABLE and POOLS in hello.features:
            features.append(POOLS)
        return features

    def gone(self, peer: Peer, *, clean: bool) -> None:
        """Let everybody know that a renderer is gone, once. `clean`: it has received all that was sent to it."""
        self.renderers.remove(peer)
        # First: an answer in place of the one that it had begun must not stand inside of that.
        self.router.forget(peer)
        self.shared_pools.forget(peer)
        self._end_calls(peer)
        self.flow.forget(peer)
        self.demands.forget(peer)
        self.main.forget(peer)
        if peer.ports is not None:
            self.ports.forget(peer.ports)
        peer.posting = ()
        if peer.has_calls:
            peer.calls.fail_all(lambda reply: ReplyNeverSent(reply.channel))
        for partner in peer.partners:
            if not clean:
                # Also where only invokes were seen: it may have sent what was never read.
                self.counters["gaps"] += 1
                partner.outbox.put(build(Kind.GAP, peer.id))
            partner.partners = parted(partner.partners, peer)
            partner.oneway = parted(partner.oneway, peer)
            partner.heard = parted(partner.heard, peer)
        peer.partners = peer.oneway = peer.heard = NOBODY
        if peer.lane is not None:
            peer.lane.close()
        if peer.descriptors is not None:
            peer.descriptors.abort()
            peer.descriptors = None
        self._tell_watchers(Kind.LEFT, peer)
        self.hosting.gone(peer)
        peer.contents.destroyed()

    @staticmethod
    def other_user(process: Process) -> ConnectRefused:
        """Return why the process of another user is refused."""
        return ConnectRefused("this broker", f"it serves its own user only, not uid {process.uid}")

    @property
    def streams(self) -> int:
        """How many streams are open, from and to whomever."""
        peers = list(self.renderers)
        produced = sum(len(peer.inbox.streams) for peer in peers if peer.has_inbox)
        return produced + sum(peer.calls.streams for peer in peers if peer.has_calls) + len(self.replies.streams)

    def stream_bound(self, peer: Peer) -> TooManyRequests | None:
        """Return why a renderer may not open another stream; None: it may."""
        limit = self.config.limits.streams
        if self.replies.streams.count(peer) + len(peer.inbox.streams) < limit:
            return None
        return TooManyRequests(limit, "The number of open streams")

    def refuse(self, peer: Peer, error: MainbusError) -> None:
        """Count what a renderer may not have since there are too many, and log it if it is the first of its kind."""
        self.counters["too_many"] += 1
        if peer.incidents is None:
            peer.incidents = set()
        if str(error) not in peer.incidents:
            peer.incidents.add(str(error))
            log.warning("refused %s a request: %s; more of them are counted", peer.label, error)

    def close_slow(self, contents: WebContents) -> None:
        """Close a renderer that does not keep up."""
        peer = self.renderers.ids[contents.id]
        self.counters["slow_consumers"] += 1
        self.emit("slow-consumer", contents)
        peer.close(f"slow consumer, with {contents.queued} bytes waiting", blame=True)

    # Private

    def _check(self, process: Process, role: str | None, name: str | None) -> Policy | None:
        """Return what a renderer may do, if it may come at all, with the name that it asks for."""
        policy = self.policies.get(role)
        if policy is None and not same_user(process):
            raise self.other_user(process)
        if policy is not None and name is not None and not policy.allows_name(name):
            raise PermissionDenied(f"role {role!r} does not grant the name {name!r}")
        return policy

    def _too_late(self, number: int) -> None:
        self.entering[number].too_late()

    def _tell_watchers(self, kind: Kind, peer: Peer) -> None:
        for watcher in self.renderers.watchers:
            if watcher.policy is None or watcher.policy.sees_others:
                watcher.outbox.put(build(kind, peer.id, name=peer.name_raw))

    def _end_calls(self, peer: Peer) -> None:
        asked, serving = self.replies.forget(peer)
        for request, callee in asked:
            callee.outbox.put(build(Kind.CANCEL, peer.id, request))
        for request, caller in serving:
            body = clone.encode("")
            caller.outbox.put(build(Kind.ERROR, peer.id, request, value=ReplyNeverSent.wire_code, body=body))

    def _watch(self) -> None:
        for peer in self.flow.stalled():
            self.close_slow(peer.contents)
        self._watchdog = self.loop.call_later(self.config.limits.stall_timeout / 4, self._watch)

    @staticmethod
    def refusal(error: MainbusError) -> bytes:
        """Return the packet that refuses a connection."""
        return build(Kind.REFUSED, MAIN, value=error.wire_code, body=clone.encode(str(error)))
