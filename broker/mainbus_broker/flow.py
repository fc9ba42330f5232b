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
    """What one source was asked, for one target. It stays until the source has acknowledged the latest request.

    Until then it is not asked again: else whoever asks and takes it back in turn would fill the queue of a source that
    does not read.
    """

    __slots__ = ("acknowledged", "broadcasts", "overrun", "reasons", "serial", "told")

    def __init__(self) -> None:
        self.serial = 0
        self.reasons = 0
        """Why it is to pause; none: it may go on."""
        self.overrun = 0
        """Bytes that it has sent to the target since it was to pause."""
        self.told = False
        """Whether it knows, or will as soon as it reads, that it is to pause."""
        self.acknowledged = True
        """Whether it has answered the latest request."""
        self.broadcasts = False
        """Whether it is to hold its broadcasts, too."""


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
            self.watch(target)
            self._ask(source, target, QUEUE, broadcast)
        if pause is not None and pause.reasons and (not broadcast or pause.broadcasts):
            self._overran(source, pause, size, target.label)

    def added_to_main(self, source: Peer, size: int) -> None:
        """Note that `source` added `size` bytes to what waits in the main process."""
        pause = self._main.get(source.id)
        if pause is not None and pause.reasons:
            self._overran(source, pause, size, "the main process")
        elif source.inbox.size > self._hub.config.limits.high:
            self._ask(source, None, INBOX, broadcast=False)

    def main_takes(self, source: Peer) -> None:
        """Let `source` go on sending to the main process."""
        self._lift(source, None, INBOX)

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
            self._ask(source, target, INBOX, broadcast=True)
        else:
            self._lift(source, target, INBOX)

    def acknowledged(self, source: Peer, target_id: int, serial: int) -> None:
        """Note that `source` sends nothing more to a target until it is told to go on."""
        target = self._hub.renderers.ids.get(target_id)
        pauses = self._pauses(target) if target is not None or target_id == MAIN else None
        pause = pauses.get(source.id) if pauses else None
        if pauses is not None and pause is not None and pause.serial == serial:
            pause.acknowledged = True
            if not pause.reasons:
                del pauses[source.id]
            elif not pause.told:
                self._tell(source, target, pause)

    def forget(self, peer: Peer) -> None:
        """Drop a renderer that is gone, as a target and as a source."""
        self._main.pop(peer.id, None)
        for source_id in list(peer.pausing or ()):
            source = self._hub.renderers.ids.get(source_id)
            if source is not None and peer.pausing and peer.pausing[source_id].told:
                self._tell_to_go_on(source, peer)
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

    def _pauses(self, target: Peer | None) -> dict[int, Pause]:
        """Return who is to pause for a target (None: the main process), by id."""
        if target is None:
            return self._main
        if target.pausing is None:
            target.pausing = {}
        return target.pausing

    def _ask(self, source: Peer, target: Peer | None, reason: int, broadcast: bool) -> None:
        pauses = self._pauses(target)
        pause = pauses.get(source.id)
        if pause is None:
            pause = pauses[source.id] = Pause()
        if not pause.reasons:
            pause.overrun = 0
            pause.broadcasts = False
        pause.reasons |= reason
        more = broadcast and not pause.broadcasts
        pause.broadcasts |= broadcast
        if (more and pause.told) or (not pause.told and pause.acknowledged):
            self._tell(source, target, pause)

    def _tell(self, source: Peer, target: Peer | None, pause: Pause) -> None:
        self._serial += 1
        self._hub.counters["pauses"] += 1
        pause.serial, pause.told, pause.acknowledged, pause.overrun = self._serial, True, False, 0
        address, name = (target.id, target.name_raw) if target is not None else (MAIN, b"")
        source.outbox.put(build(Kind.PAUSE, address, pause.serial, value=int(pause.broadcasts), name=name))

    def _lift(self, source: Peer, target: Peer | None, reason: int) -> None:
        pauses = self._pauses(target)
        pause = pauses.get(source.id)
        if pause is None or not pause.reasons:
            return
        pause.reasons &= ~reason
        if pause.reasons:
            return
        if pause.acknowledged:
            del pauses[source.id]
        if pause.told:
            pause.told = False
            self._tell_to_go_on(source, target)

    @staticmethod
    def _tell_to_go_on(source: Peer, target: Peer | None) -> None:
        address, name = (target.id, target.name_raw) if target is not None else (MAIN, b"")
        source.outbox.put(build(Kind.RESUME, address, name=name))

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
