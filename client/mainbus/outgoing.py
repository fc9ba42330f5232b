"""What leaves a renderer: messages, requests and answers, each in its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, Unpack

from mainbus.answers import Outcome
from mainbus.calls import Calls
from mainbus.descriptor_lane import DescriptorLane
from mainbus.errors import MessageTooLarge, SendQueueFull
from mainbus.link import Link
from mainbus.outbox import Outbox
from mainbus.ownership import owner
from mainbus.pools import Pools
from mainbus.port_end import End
from mainbus.quick import COMPILED
from mainbus.renderer_ports import RendererPorts
from mainbus.reply import Reply
from mainbus.route_table import BROADCASTS, RouteTable
from mainbus.routes import Route
from mainbus.streams import StreamReply
from mainbus.timeouts import milliseconds
from mainbus.wire import packets
from mainbus.wire.connection import Connection
from mainbus.wire.messages import Welcome, WireLimits
from mainbus.wire.packets import (
    BROADCAST,
    BY_NAME,
    HEADER_SIZE,
    INVOKE,
    MAIN,
    MAX_FRAGMENT,
    RESULT,
    SEND,
    STREAM,
    Fields,
    Kind,
    build,
)
from mainbus.wire.pieces import Body, Packet

if COMPILED:
    from mainbus.leaving_fast import Leaving
else:
    from mainbus.leaving import Leaving

_POOLED: Final = frozenset({SEND, INVOKE, RESULT})
"""What can be in shared memory."""

MAX_UNSENT: Final = 64 * 1024 * 1024
"""Bytes that may wait in this process because their target is paused or the connection is gone."""

MakePorts: TypeAlias = Callable[[Outbox, Callable[[], Connection | None]], RendererPorts]


class Outgoing:
    """The sending half of a session. What it takes without a connection waits for one.

    Args:
        loop: The session's.
        ports: Makes what has the ports of this connection.
    """

    __slots__ = (
        "_pools",
        "calls",
        "descriptors",
        "leaving",
        "link",
        "loop",
        "main",
        "outbox",
        "ports",
        "routes",
        "welcome",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, ports: MakePorts) -> None:
        self.loop = loop
        self.welcome: Welcome | None = None
        """What the latest connection began with; None before the first."""
        self.link: Link | None = None
        """The connection; None while there is none."""
        self.outbox = Outbox(loop, WireLimits().pending)
        self.calls = Calls(loop, self._send_cancel)
        self.routes = RouteTable(self.outbox)
        self.main = self.routes.main
        self._pools: Pools | None = None
        self.leaving = Leaving(self.routes, self.calls, self.calls.cancelled, owner("this renderer"))
        """What sends the common message at once; `send` and `invoke` send them all."""
        self.ports = ports(self.outbox, self._wire)
        self.descriptors: DescriptorLane | None = None
        """How descriptors come; None where none do."""

    # Public

    @property
    def pools(self) -> Pools:
        """The pools of shared memory, made when first needed."""
        if self._pools is None:
            self._pools = Pools(self.outbox)
            if self.link is not None and self.welcome is not None:
                self._pools.welcomed(self.welcome, self.descriptors)
        return self._pools

    @property
    def pooled(self) -> int:
        """Bytes of pools that hold what is under way."""
        return self._pools.used if self._pools is not None else 0

    def send(
        self,
        kind: int,
        peer: int,
        name: str | None,
        channel: bytes,
        body: Body,
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
        if kind == BROADCAST:
            route = self.routes.to(BROADCASTS)
        else:
            route = self.routes.to(peer if name is None else name)
        self._check_room(route, body, accepted)
        frame = frame if peer == MAIN and name is None else 0
        packet = self._packets(
            peer if name is None else name,
            kind,
            peer,
            0,
            body,
            route.is_free,
            flags=_by(name) | flags,
            frame=frame,
            name=_raw(name),
            channel=channel,
        )
        route.put(packet, HEADER_SIZE + len(body))

    def check_room(self, target: int | str, body: Body) -> None:
        """Check that a message to a target can be sent.

        Raises:
            MessageTooLarge: The body is longer than the broker takes.
            SendQueueFull: Too much is waiting to leave.
        """
        self._check_room(self.routes.to(target), body, accepted=False)

    def post(self, channel: bytes, body: Body, ends: Sequence[End], frame: int) -> None:
        """Send a message with which ends leave to the main process. Else as `send`."""
        route = self.routes.main
        size = HEADER_SIZE + len(body)
        if not ends:
            route.put(packets.message(Kind.POST, MAIN, 0, body, frame=frame, channel=channel), size)
            return

        def make(table: bytes) -> bytes | Iterator[Packet]:
            return packets.message(Kind.POST, MAIN, 0, table + body, frame=frame, channel=channel, value=len(ends))

        route.put(self.ports.departing(ends, make), size)

    def invoke(
        self,
        kind: int,
        peer: int,
        name: str | None,
        channel: str,
        raw: bytes,
        body: Body,
        timeout: float | None,
        *,
        frame: int = 0,
        accepted: bool = False,
    ) -> Reply:
        """Send a request, in its place; its result comes to the `Reply`. Else as `send`."""
        route = self.routes.to(peer if name is None else name)
        self._check_room(route, body, accepted)
        reply = self.calls.open(channel, self.calls.next_request(), route, timeout)
        self._put_request(kind, peer, name, raw, body, frame, reply)
        return reply

    def stream(
        self,
        peer: int,
        name: str | None,
        channel: str,
        raw: bytes,
        body: Body,
        timeout: float | None,
        *,
        frame: int = 0,
        accepted: bool = False,
    ) -> StreamReply:
        """Send the request of a stream, in its place; its items and its end come to the reply. Else as `send`."""
        route = self.routes.to(peer if name is None else name)
        self._check_room(route, body, accepted)
        reply = self.calls.open_stream(channel, self.calls.next_request(), route, timeout, self._send_demand)
        self._put_request(STREAM, peer, name, raw, body, frame, reply)
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

    def answer(self, peer: int, request: int, outcome: Outcome) -> None:
        """Send the answer to a request of `peer`."""
        if self.link is None:
            return
        kind, value, body = outcome
        route = self.routes.to(peer)
        packet = self._packets(peer, kind, peer, request, body, route.takes_replies, value=value)
        route.reply(packet, HEADER_SIZE + len(body))

    def notice(self, kind: Kind, peer: int, request: int = 0, **fields: Any) -> None:
        """Send a packet that waits for nothing."""
        if self.link is not None:
            self.outbox.put(build(kind, peer, request, **fields))

    # Private

    def _wire(self) -> Connection | None:
        return self.link.wire if self.link is not None else None

    def _put_request(
        self, kind: int, peer: int, name: str | None, raw: bytes, body: Body, frame: int, reply: Reply
    ) -> None:
        route = reply.route
        packet = self._packets(
            peer if name is None else name,
            kind,
            peer,
            reply.request,
            body,
            route.is_free and route.has_credit,
            flags=_by(name),
            frame=frame if peer == MAIN and name is None else 0,
            value=milliseconds(reply.timeout),
            name=_raw(name),
            channel=raw,
        )
        route.put(packet, HEADER_SIZE + len(body), reply.request, is_free=kind == STREAM)

    def _check_room(self, route: Route, body: Body, accepted: bool) -> None:
        assert self.welcome is not None
        limit = self.welcome.limits.message
        if len(body) > limit:
            raise MessageTooLarge(len(body), limit)
        if not accepted and route.size + self.outbox.queued >= MAX_UNSENT:
            raise SendQueueFull(MAX_UNSENT)

    def _packets(
        self,
        target: int | str,
        kind: int,
        peer: int,
        request: int,
        body: Body,
        at_once: bool,
        **fields: Unpack[Fields],
    ) -> bytes | Iterator[Packet]:
        """Return the packets of a message; those of a large one when it leaves, since there may be room in a pool."""
        if len(body) > MAX_FRAGMENT and target != MAIN and kind in _POOLED:
            return self.pools.packets(target, kind, peer, request, body, at_once, **fields)
        return packets.message(kind, peer, request, body, **fields)

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
