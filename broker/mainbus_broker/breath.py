"""The breath that is taken while a renderer sends what is large, so that others have their turn between its packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer


class Breath:
    """Stops to read for one turn: a loop that finds more in a socket reads on, and on, as long as there is something.

    Args:
        hub: The broker.
        peer: Who is read in place.
    """

    __slots__ = ("_calm", "_has_gone_on", "_hub", "_peer")

    def __init__(self, hub: Hub, peer: Peer) -> None:
        self._hub = hub
        self._peer = peer
        self._calm = hub.load.calm
        self._has_gone_on = False

    def take(self) -> None:
        """Stop behind a packet, or behind two while nobody else has anything to say.

        A turn costs more than what is said in it, and there is nobody then who would have to wait for its end.
        """
        peer, load = self._peer, self._hub.load
        # One packet of those is its own.
        is_alone = load.calm - self._calm <= 1 and not load.hungry
        self._calm = load.calm
        self._has_gone_on = is_alone and not self._has_gone_on
        if not self._has_gone_on and peer.is_read and not peer.closing:
            peer.transport.pause_reading()
            self._hub.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        # Whoever has stopped it meanwhile lets it go on, too.
        if self._peer.is_read and not self._peer.closing:
            self._peer.transport.resume_reading()
