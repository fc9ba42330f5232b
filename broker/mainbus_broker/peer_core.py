"""What every message touches of a renderer's connection; `peer_core_fast` has the same, compiled.

Only fields, and the steps that each read and each answer takes. What is rare stands in `Peer`, which derives from this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mainbus.outbox import Outbox

from mainbus_broker.turns import share

if TYPE_CHECKING:
    from mainbus.calls import Calls
    from mainbus.inbox import Inbox
    from mainbus.routes import Route
    from mainbus.wire.connection import Connection

    from mainbus_broker.flow import Pause
    from mainbus_broker.forwards import Forward, Key
    from mainbus_broker.hub import Hub
    from mainbus_broker.lane_end import LaneEnd
    from mainbus_broker.partners import Peers
    from mainbus_broker.policy import Policy
    from mainbus_broker.web_contents import WebContents


class Load:
    """What all renderers of one broker ask of it, and may make it hold."""

    __slots__ = ("calm", "hungry", "left")

    def __init__(self, left: int) -> None:
        self.calm = 0
        """Packets that were served for those who had no more to say than fitted into their turn."""
        self.hungry = 0
        """Renderers that have sent more than one turn of theirs can take."""
        self.left = left
        """Bytes that may be added before stock is taken of what is held."""


class PeerCore:
    """A welcomed renderer, as far as most messages know it."""

    __slots__ = (
        "_calls",
        "_hub",
        "_inbox",
        "_load",
        "_route",
        "_scheduled",
        "closing",
        "contents",
        "heard",
        "id",
        "is_read",
        "lane",
        "name_raw",
        "oneway",
        "outbox",
        "owes",
        "pausing",
        "policy",
        "streams",
        "unread",
        "wire",
    )

    contents: WebContents
    heard: Peers
    oneway: Peers
    pausing: dict[int, Pause] | None
    policy: Policy | None
    streams: dict[Key, Forward] | None
    _calls: Calls | None
    _inbox: Inbox | None
    _route: Route | None

    # What is rare, of whoever derives from this.
    no_memory: Callable[[], None]
    _receive_out_of_turn: Callable[[bytes], None]
    _go_on: Callable[[int, int, int], None]
    _count_unread: Callable[[int], None]

    def __init__(self, hub: Hub, peer_id: int, name_raw: bytes, wire: Connection) -> None:
        self.id = peer_id
        self.name_raw = name_raw
        self.wire = wire
        self.outbox = Outbox(hub.loop, hub.config.limits.pending)
        self.lane: LaneEnd | None = None
        self.closing = False
        self.owes = False
        """Whether its process has to wait before more of it is served."""
        self.is_read = True
        """Whether its connection is read; else what it has sent waits there."""
        self.unread = 0
        """Bytes of answers to it since they were last compared with what waits."""
        self._hub = hub
        self._load = hub.load
        self._scheduled = False

    def data_received(self, data: bytes) -> None:
        """Serve what has arrived, as much as one turn allows."""
        if self.closing:
            return
        load, wire, outbox = self._load, self.wire, self.outbox
        load.left -= len(data)
        if load.left < 0:
            self._hub.holdings.look_soon()
        try:
            if self._scheduled or self.owes:
                self._receive_out_of_turn(data)
                return
            count, size = share(load.hungry)
            before = wire.received
            # Answers leave with the turn that has made them: the renderer waits for nothing else.
            holds = outbox.hold()
            try:
                count = wire.take_in(data, count, size)
            finally:
                if holds:
                    outbox.let_go()
        except MemoryError:
            self.no_memory()
            return
        if count < 0 and self._is_content():
            load.calm += wire.received - before
        else:
            self._go_on(max(count, 0), size - wire.scanned, before)

    def charge(self, size: int) -> None:
        """Count an answer on its way to this renderer: no pause holds those back, so it must read them."""
        self.unread += size
        self._load.left -= size
        if self.unread > self._hub.config.limits.hard:
            self._count_unread(size)

    def _is_content(self) -> bool:
        """Whether a turn in which all was served at once ends as most do."""
        wire = self.wire
        unusual = self.owes or self.closing or not self.is_read or self.lane is not None
        return not unusual and wire.failure is None and not wire.expects_large
