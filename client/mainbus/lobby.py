"""The lobby: where messages wait, in order, until the broker has said whom an id stands for.

A name and an id may mean one renderer, and what goes there either way keeps one order and one credit. So what is sent
to an id whose name nobody has told yet waits here for the broker's answer, and all that is sent to other renderers
meanwhile waits behind it: any name could be that renderer's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from mainbus.nothing import NOTHING
from mainbus.outbox import Outbox
from mainbus.routes import Entry, Route
from mainbus.wire.pieces import Packet


class Waiting(Route):
    """What is sent to one address while the lobby is open; nothing leaves from here.

    Args:
        outbox: Where its bytes count as held.
        line: Whose turn it is, once for each message.
        target: The address, an id or a name.
        key: What its route is called; None while that is not known.
    """

    __slots__ = ("_line", "is_nobody", "key", "target")

    def __init__(self, outbox: Outbox, line: deque[Waiting], target: int | str, key: int | str | None) -> None:
        super().__init__(outbox, 0)
        self.paused = True
        self.target = target
        self.key = key
        self.is_nobody = False
        """Whether the broker has said that there is no such renderer."""
        self._line = line

    # Public

    def reply(self, packet: bytes | Iterator[Packet], size: int) -> None:
        """Send a reply in its place: it overtakes nothing, since nothing here waits for anybody but the broker."""
        entry = Entry(packet, size, 0)
        entry.is_reply = True
        self._append(entry)

    @property
    def takes_replies(self) -> bool:
        """Whether a reply may leave at once: never."""
        return False

    def leave(self) -> Entry | None:
        """Give away what has waited longest; None if it was withdrawn."""
        entry = self._queue[0]
        is_withdrawn = self._is_withdrawn(entry)
        if self._unsent:
            self._unsent.pop(entry.request, None)
        self._drop_first()
        return None if is_withdrawn else entry

    def reset(self) -> set[int]:
        """Drop the replies, and return the invokes: they wait for the next connection."""
        for entry in self._queue:
            if entry.is_reply:
                self._release(entry)
        return set(self._unsent or ())

    # Private

    def _append(self, entry: Entry) -> None:
        super()._append(entry)
        self._line.append(self)


class Lobby:
    """Messages in the order sent, and the ids that the broker was asked about.

    Args:
        outbox: Where their bytes count as held.
    """

    __slots__ = ("_line", "_outbox", "asked")

    def __init__(self, outbox: Outbox) -> None:
        self.asked: dict[int, Waiting] = {}
        self._outbox = outbox
        self._line: deque[Waiting] = NOTHING

    # Public

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits here."""
        return not self._line

    def enter(self, target: int | str, key: int | str | None) -> Waiting:
        """Return where messages to a target wait. `key`: as `Waiting` has it."""
        if self._line is NOTHING:
            self._line = deque()
        return Waiting(self._outbox, self._line, target, key)

    def leave(self) -> Iterator[tuple[Waiting, Entry]]:
        """Yield each message that waits for no answer, nor behind one that does, and where it has waited."""
        line = self._line
        while line and (line[0].key is not None or line[0].is_nobody):
            waiting = line.popleft()
            entry = waiting.leave()
            if entry is not None:
                yield waiting, entry

    def reset(self) -> set[int]:
        """Make ready for another connection; returns the requests of the invokes that wait."""
        return {request for waiting in self._waiting() for request in waiting.reset()}

    def forget_ids(self) -> Iterator[bytes]:
        """Drop what is addressed to ids; yields the first packet of each."""
        self.asked.clear()
        by_id = [waiting for waiting in self._waiting() if isinstance(waiting.target, int)]
        by_name = [waiting for waiting in self._line if not isinstance(waiting.target, int)]
        self._line.clear()
        self._line.extend(by_name)
        for waiting in by_id:
            yield from waiting.forget_ids()

    # Private

    def _waiting(self) -> list[Waiting]:
        """Return each address once."""
        return list(dict.fromkeys(self._line))
