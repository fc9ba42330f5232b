"""How many bytes all renderers together make the broker hold, and who gives way when that is too much.

Nothing is counted as it waits and leaves: that would cost every message. What comes in is counted, by the read, and
stock is taken when so much has come that the bound could have been passed. Then each renderer is charged with what the
broker holds for it or because of it, and none may hold more than is left for all others. So one alone may have half of
everything, two a third each; and as long as there are large holders no small one has to go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import TYPE_CHECKING, Final

from mainbus_broker.listeners import same_user

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer

_PACKET: Final = 64
"""Bytes that a packet takes besides its own, while it waits."""

_ARRIVAL: Final = 512
"""Bytes that a message for the main process takes besides its body, while it waits."""

_OFTEN: Final = 64
"""The share of the bound that may come in before stock is taken again, when next to nothing is left of it."""


class Holdings:
    """What the renderers of one broker make it hold.

    Args:
        hub: The broker.
    """

    __slots__ = ("_hub", "_is_due")

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._is_due = False

    # Public

    def added(self, size: int) -> None:
        """Note that as many bytes have come in, or been made, as may have to wait."""
        load = self._hub.load
        load.left -= size
        if load.left < 0:
            self.look_soon()

    def look_soon(self) -> None:
        """Take stock in the next turn."""
        if not self._is_due:
            self._is_due = True
            # Not amid what is being served: somebody may be closed.
            self._hub.loop.call_soon(self._take_stock)

    @property
    def total(self) -> int:
        """Bytes that the broker holds, about."""
        return self._total(self._charged())

    # Private

    def _take_stock(self) -> None:
        self._is_due = False
        limit = self._hub.config.limits.total
        held = self._charged()
        room = limit - self._total(held)
        if held:
            largest, size = self._largest(held)
            if size > room:
                if not self._cut_off():
                    self._close(largest, size)
                # Not in a loop: others have their turn meanwhile.
                self.look_soon()
                return
        self._hub.load.left = max(room // 2, limit // _OFTEN)

    def _total(self, held: dict[Peer, int]) -> int:
        # What was broadcast waits for many and is there once.
        shared = max((peer.shared for peer in held), default=0)
        return sum(held.values()) + shared + sum(farewell.size for farewell in self._hub.leaving)

    def _charged(self) -> dict[Peer, int]:
        """Return what each renderer is charged with."""
        charged: Counter[Peer] = Counter()
        for peer in self._hub.renderers:
            waiting = peer.outbox.size + peer.outbox.held + peer.outbox.count * _PACKET
            peer.shared = min(peer.shared, waiting)
            waiting -= peer.shared
            for source, size in self._overrun(peer, waiting):
                charged[source] += size
                waiting -= size
            arrived = peer.wire.held
            if peer.has_inbox:
                arrived += peer.inbox.size + peer.inbox.count * _ARRIVAL
            charged[peer] += waiting + arrived + (peer.lane.held if peer.lane is not None else 0)
            if peer.ports is not None:
                charged[peer] += self._hub.ports.held(peer.ports)
        return charged

    def _overrun(self, target: Peer, waiting: int) -> list[tuple[Peer, int]]:
        """Return who has added to a queue although it was asked to pause, and how much of it is theirs."""
        ids = self._hub.renderers.ids
        sources = [(ids[id], pause.overrun) for id, pause in (target.pausing or {}).items() if pause.overrun]
        total = sum(size for _, size in sources)
        return [(source, size * min(total, waiting) // total) for source, size in sources]

    def _largest(self, held: dict[Peer, int]) -> tuple[Peer, int]:
        """Return the largest holder and what it holds; all renderers of another user than the broker's are one."""
        users: Counter[Hashable] = Counter()
        for peer, size in held.items():
            users[self._user(peer)] += size
        user, size = users.most_common(1)[0]
        return max((peer for peer in held if self._user(peer) == user), key=held.__getitem__), size

    @staticmethod
    def _user(peer: Peer) -> Hashable:
        return peer if same_user(peer.process) else peer.process.uid

    def _close(self, peer: Peer, size: int) -> None:
        limit = self._hub.config.limits.total
        self._hub.counters["over_total"] += 1
        peer.evict(f"holds {size} of the {limit} bytes that all may hold, and less than that is left")

    def _cut_off(self) -> bool:
        """Wait no longer for those to read who have left; whether that was of any use."""
        found = [farewell for farewell in self._hub.leaving if farewell.size]
        for farewell in found:
            farewell.cut_off()
        return bool(found)
