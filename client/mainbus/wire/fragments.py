"""Messages of more than one packet: what their fragments have in common. Who joins them asks here, and who forwards."""

from __future__ import annotations

from typing import Final

from mainbus.errors import MessageTooLarge
from mainbus.wire.packets import BY_NAME, Kind

STREAMS: Final = 4
"""How many large messages one pair can have under way."""

_MESSAGES: Final = 0
_MESSAGES_BY_NAME: Final = 1
_BROADCASTS: Final = 2
_REPLIES: Final = 3
PORTS: Final = 4
"""The stream of a port, apart from those of a pair: there the header's peer is the port's number."""

_STREAMS: Final = {
    int(Kind.BROADCAST): _BROADCASTS,
    int(Kind.RESULT): _REPLIES,
    int(Kind.ERROR): _REPLIES,
    int(Kind.ITEM): _REPLIES,
    int(Kind.PORT_MESSAGE): PORTS,
}


def stream_of(kind: int, flags: int) -> int:
    """Return which of a pair's streams a packet belongs to: fragments of one stream never mix.

    Replies have one of their own since they go on where messages are paused, and broadcasts since they wait for
    nobody. What is sent to a name is another one than what is sent to an id: a sender may not know that they meet.
    """
    return _STREAMS.get(kind) or (_MESSAGES_BY_NAME if flags & BY_NAME else _MESSAGES)


class Progress:
    """A message of which fragments are missing.

    Args:
        kind: That of the first fragment, and of all others.
        request: Its request.
        size: Bytes of its body.
    """

    __slots__ = ("_kind", "_request", "size")

    def __init__(self, kind: int, request: int, size: int) -> None:
        self._kind = kind
        self._request = request
        self.size = size
        """Bytes of what has come."""

    def fault(self, kind: int, request: int, size: int, limit: int) -> str | None:
        """Count another fragment in; returns what is wrong with it, or None.

        Args:
            kind: Its kind.
            request: Its request.
            size: Bytes of its body.
            limit: Bytes that all of them may have.
        """
        if (kind, request) != (self._kind, self._request):
            return without_first(kind)
        # An empty one counts too: else a message could go on for ever, and whoever gets it remember every piece.
        self.size += size or 1
        return str(MessageTooLarge(self.size, limit)) if self.size > limit else None


def without_first(kind: int) -> str:
    """Name the fault of a fragment that continues nothing."""
    return f"fragment of kind {name_of(kind)} without its first"


def not_finished(kind: int) -> str:
    """Name the fault of a message that begins in a stream whose last one misses fragments."""
    return f"packet of kind {name_of(kind)} inside another message"


def name_of(kind: int) -> str:
    """Return a kind's name, or its number if it has none."""
    try:
        return Kind(kind).name
    except ValueError:
        return str(kind)
