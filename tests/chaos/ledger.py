"""What one process of the chaos run has done and seen, a line each, written before it goes on: it survives a SIGKILL.

A line is the time (nanoseconds of the clock that all processes share), what happened, and words about it:

    start <who>                     the first line; who is name.incarnation
    sent <to> <number> <kind>       about to send: kind is send, post, sync, ask or last
    unsent <to> <number>            the verb has raised: nothing was sent
    end <to> <number> <outcome>     the one outcome of an ask or sync: "ok" or the name of an error
    got <from> <number> <place>     place: the sender's id, which is another one after a reconnect
    reply <from> <number>           the callee's count of its replies to this process
    told <event> <reason>           gap, reconnected, disconnected; a reason for the last
    undeliverable <to>
    stream <to> <asked> <got> <outcome>
    companion <kind> <sent> <got> <outcome>     a frame or guest of its own
    posted <port> <number>          on a port of its own
    ended <port> <count>            the port was closed behind that many
    port <port> <number>            on a port that it was given
    wrong <words>                   something that it could see to be wrong by itself
    bye                             it has left in good order
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """One line of a ledger."""

    at: int
    """Nanoseconds."""
    what: str
    words: tuple[str, ...]


class Ledger:
    """The writing end.

    Args:
        path: A file of this process alone.
        who: Its name and incarnation, as "r3.1".
    """

    def __init__(self, path: Path, who: str) -> None:
        self.who = who
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.note("start", who)

    def note(self, what: str, *words: object) -> None:
        """Write one line."""
        os.write(self._fd, f"{time.monotonic_ns()} {what} {' '.join(map(str, words))}\n".encode())

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)


class Book(NamedTuple):
    """A ledger as it is read."""

    who: str
    entries: tuple[Entry, ...]

    @property
    def name(self) -> str:
        """The process' name, which its next incarnation has too."""
        return name_of(self.who)

    @property
    def left(self) -> bool:
        """Whether the process has left in good order, so that it has lived to the end."""
        return bool(self.entries) and self.entries[-1].what == "bye"

    def all(self, *kinds: str) -> Iterator[Entry]:
        """Yield the entries of these kinds."""
        return (entry for entry in self.entries if entry.what in kinds)


def name_of(who: str) -> str:
    """Return the name of an incarnation."""
    return who.rpartition(".")[0]


def incarnation_of(who: str) -> int:
    """Return which of its name it is."""
    return int(who.rpartition(".")[2])


def parse(text: str) -> Book:
    """Read a ledger; the line in which its process was killed is no line."""
    entries = []
    for line in text.splitlines(keepends=True):
        if line.endswith("\n"):
            at, what, *words = line.split()
            entries.append(Entry(int(at), what, tuple(words)))
    assert entries[0].what == "start", entries[0]
    return Book(entries[0].words[0], tuple(entries))


def read(folder: Path) -> list[Book]:
    """Read the ledgers of a folder."""
    texts = [path.read_text() for path in sorted(folder.glob("*.ledger"))]
    return [parse(text) for text in texts if "\n" in text]
