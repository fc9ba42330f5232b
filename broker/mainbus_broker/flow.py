"""Who was asked to pause, for whom and why; who stalls.

A renderer is asked to hold what it has for one target when that target's queue passes the high-water mark, or when
the target itself cannot keep up. It acknowledges the request in its stream: whatever it sends to that target behind
the acknowledgement, or too much before it, breaks the protocol, and that renderer is closed, not the target.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from mainbus.wire.packets import MAIN, Kind, build

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer

QUEUE: Final = 1
"""The target's queue in the broker is over its mark."""
INBOX: Final = 2
"""The target has said that it has enough."""


class Pause:
    """One source that was asked to pause for one target."""

    __slots__ = ("acknowledged", "broadcasts", "overrun", "reasons", "serial")

    def __init__(self, serial: int, reasons: int) -> None:
        self.serial = serial
        self.reasons = reasons
        self.overrun = 0
        self.acknowledged = False
        self.broadcasts = False


class Flow:
    """Pauses per target and source.

    Args:
        hub: The broker whose renderers these are.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._main: dict[int, Pause] = {}
        self._serial = 0

    # Public

    def added(self, source: Peer, target: Peer, size: int, *, broadcast: bool = False) -> None:
        """Note that `source` added `size` bytes to a target that is over its mark, or was lately."""
        pauses = target.pausing
        pause = pauses.get(source.id) if pauses else None
        if target.outbox.queued > self._hub.config.limits.high:
            self._pause(source, target, QUEUE, broadcast)
        if pause is not None and (not broadcast or pause.broadcasts):
            self._overran(source, pause, size, target.label)

    def added_to_main(self, source: Peer, size: int) -> None:
        """Note that `source` added `size` bytes to what waits in the main process."""
        pause = self._main.get(source.id)
        if pause is not None:
            self._overran(source, pause, size, "the main process")
        elif source.inbox.size > self._hub.config.limits.high:
            self._serial += 1
            self._main[source.id] = Pause(self._serial, INBOX)
            source.outbox.put(build(Kind.PAUSE, MAIN, self._serial))

    def main_takes(self, source: Peer) -> None:
        """Let `source` go on sending to the main process."""
        if self._main.pop(source.id, None):
            source.outbox.put(build(Kind.RESUME, MAIN))

    def asked(self, target: Peer, source: Peer | None, *, pause: bool) -> None:
        """Do as a target asks: have `source` (None: the main process) pause or go on."""
        if source is None:
            if pause:
                target.route.pause()
            else:
                target.route.resume()
                target.outbox.wake()
        elif source not in target.partners:
            return
        elif pause:
            self._pause(source, target, INBOX, broadcast=True)
        else:
            self._lift(source, target, INBOX)

    def acknowledged(self, source: Peer, target_id: int, serial: int) -> None:
        """Note that `source` sends nothing more to a target until it is told to go on."""
        target = self._hub.renderers.ids.get(target_id)
        pauses = self._main if target_id == MAIN else (target.pausing if target else None)
        pause = pauses.get(source.id) if pauses else None
        if pause is not None and pause.serial == serial:
            pause.acknowledged = True

    def forget(self, peer: Peer) -> None:
        """Drop a renderer that is gone, as a target and as a source."""
        self._main.pop(peer.id, None)
        for source_id in list(peer.pausing or ()):
            source = self._hub.renderers.ids.get(source_id)
            if source is not None:
                source.outbox.put(build(Kind.RESUME, peer.id, name=peer.name_raw))
        peer.pausing = None
        for partner in peer.partners:
            if partner.pausing:
                partner.pausing.pop(peer.id, None)

    def watch(self, peer: Peer) -> None:
        """Let those who wait for it go on when the queue of a renderer is low."""
        peer.outbox.when_low(self._hub.config.limits.low, partial(self._low, peer))

    def stalled(self) -> Iterator[Peer]:
        """Yield the renderers that have much waiting and have read nothing for too long."""
        limits = self._hub.config.limits
        now = self._hub.loop.time()
        for peer in self._hub.renderers:
            waiting = peer.outbox.size
            consumed = peer.outbox.handed - (waiting - peer.outbox.queued)
            if waiting <= limits.low or consumed != peer.progress[0]:
                peer.progress = (consumed, now)
            elif now - peer.progress[1] >= limits.stall_timeout:
                yield peer

    # Private

    def _pause(self, source: Peer, target: Peer, reason: int, broadcast: bool) -> None:
        if target.pausing is None:
            target.pausing = {}
        pause = target.pausing.get(source.id)
        if reason == QUEUE:
            self.watch(target)
        if pause is not None and (pause.broadcasts or not broadcast):
            pause.reasons |= reason
            return
        self._serial += 1
        new = Pause(self._serial, reason | (pause.reasons if pause else 0))
        new.broadcasts = broadcast
        target.pausing[source.id] = new
        source.outbox.put(build(Kind.PAUSE, target.id, new.serial, value=int(broadcast), name=target.name_raw))

    def _lift(self, source: Peer, target: Peer, reason: int) -> None:
        pause = target.pausing.get(source.id) if target.pausing else None
        if pause is None or target.pausing is None:
            return
        pause.reasons &= ~reason
        if not pause.reasons:
            del target.pausing[source.id]
            source.outbox.put(build(Kind.RESUME, target.id, name=target.name_raw))

    def _low(self, peer: Peer) -> None:
        self._lift_all(peer)
        self._hub.demands.release(peer)

    def _lift_all(self, target: Peer) -> None:
        for source_id in list(target.pausing or ()):
            source = self._hub.renderers.ids.get(source_id)
            if source is not None:
                self._lift(source, target, QUEUE)

    def _overran(self, source: Peer, pause: Pause, size: int, target: str) -> None:
        pause.overrun += size
        if pause.acknowledged or pause.overrun > self._hub.config.limits.overrun:
            self._hub.counters["overruns"] += 1
            source.close(f"sent to {target} although it was asked to pause", blame=True)
