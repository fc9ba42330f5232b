"""Whether the ledgers of all processes, put beside each other, keep what mainbus promises (contract 2.19, 2.20, 9.1).

A *flow* is what one incarnation of a process has sent to a name, numbered from 0, of all kinds mixed. In it:

- no number arrives twice, at whichever incarnation of that name, and none that was not sent;
- numbers of one connection of the sender arrive in their order (after a reconnect it is another sender, 9.6);
- a number that never arrives has an excuse. An ask or sync has its outcome. Between two messages at the same process it
  is a gap which that process was told of before the next one, and a connection of one of the two that was lost at that
  time: without a loss there is no excuse. Where the receiver is another process than before, it is a gap that the
  sender was told of. What is left must have been told as undeliverable, one by one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tests.chaos.ledger import Book, Entry, incarnation_of

MAIN = "main"
ASKS = frozenset({"ask", "sync"})

LATE = 5_000_000_000
"""Nanoseconds by which a sender may hear later of its loss than somebody has got what it has sent behind that: without
a loop it hears where its listeners run, which others may keep waiting."""

EXPECTED = ("the broker is gone", "slow consumer", "[Errno ")
"""Why a connection may be lost: one was killed, cut off or frozen for too long; never for what a peer has said."""


class Violation(NamedTuple):
    """Something that was promised and did not happen."""

    at: float
    """Nanoseconds; about when."""
    text: str


class Sent(NamedTuple):
    """One message at its sender."""

    at: int
    kind: str


class Got(NamedTuple):
    """One message at its receiver."""

    number: int
    at: float
    place: str
    book: Book


class Flow(NamedTuple):
    """What one process has sent to one name."""

    sender: Book
    to: str
    sent: dict[int, Sent]
    unsent: set[int]
    ends: dict[int, list[str]]
    got: list[Got]
    """By receiver, and for each in the order of arrival."""

    def __str__(self) -> str:
        return f"{self.sender.who} -> {self.to}"


def audit(books: list[Book]) -> list[Violation]:
    """Return what is violated, in the order of time."""
    found = [*_wrong(books), *_replies(books), *_ports(books)]
    latest = _latest(books)
    for flow in flows(books):
        found += [*_arrivals(flow), *_outcomes(flow), *_holes(flow, latest)]
    return sorted(found)


def messages(books: list[Book]) -> int:
    """Count the messages that have arrived, items of streams and replies included."""
    items = sum(int(entry.words[2]) for book in books for entry in book.all("stream"))
    return items + sum(1 for book in books for _ in book.all("got", "reply", "port"))


def flows(books: list[Book]) -> list[Flow]:
    """Put senders and receivers together."""
    made: dict[tuple[str, str], Flow] = {}
    for book in books:
        for entry in book.all("sent", "unsent", "end"):
            to, number = entry.words[0], int(entry.words[1])
            key = (book.who, to)
            flow = made.get(key) or made.setdefault(key, Flow(book, to, {}, set(), defaultdict(list), []))
            if entry.what == "sent":
                flow.sent[number] = Sent(entry.at, entry.words[2])
            elif entry.what == "unsent":
                flow.unsent.add(number)
            else:
                flow.ends[number].append(entry.words[2])
    known = {book.who: book for book in books}
    for book in sorted(books, key=lambda book: incarnation_of(book.who)):
        for entry in book.all("got"):
            who, got, place = entry.words
            key = (who, book.name)
            flow = made.get(key) or made.setdefault(key, Flow(known[who], book.name, {}, set(), defaultdict(list), []))
            flow.got.append(Got(int(got), entry.at, place, book))
    return list(made.values())


# One flow


def _arrivals(flow: Flow) -> Iterator[Violation]:
    seen: set[int] = set()
    latest: dict[tuple[str, str], int] = {}
    for got in flow.got:
        before = latest.get((got.book.who, got.place), -1)
        if got.number in seen:
            yield Violation(got.at, f"{flow}: number {got.number} has arrived twice, again at {got.book.who}")
        elif got.number not in flow.sent:
            yield Violation(got.at, f"{flow}: number {got.number} has arrived and was never sent")
        elif got.number in flow.unsent:
            yield Violation(got.at, f"{flow}: number {got.number} has arrived, though its verb raised")
        elif got.number < before:
            yield Violation(got.at, f"{flow}: number {got.number} has arrived behind {before} at {got.book.who}")
        latest[got.book.who, got.place] = got.number
        seen.add(got.number)


def _outcomes(flow: Flow) -> Iterator[Violation]:
    arrived = {got.number for got in flow.got}
    for number, sent in flow.sent.items():
        ends = flow.ends.get(number, [])
        if sent.kind not in ASKS or number in flow.unsent:
            continue
        if len(ends) > 1 or (not ends and flow.sender.left):
            yield Violation(sent.at, f"{flow}: {sent.kind} {number} has {len(ends)} outcomes: {ends}")
        elif ends == ["ok"] and number not in arrived:
            yield Violation(sent.at, f"{flow}: {sent.kind} {number} was answered by nobody who has got it")


def _holes(flow: Flow, latest: dict[str, Book]) -> Iterator[Violation]:
    """Yield what is missing without an excuse."""
    arrived = {got.number for got in flow.got}
    missing = [
        number
        for number, sent in flow.sent.items()
        if number not in arrived and number not in flow.unsent and not _has_failed(flow, sent, number)
    ]
    open_: list[int] = []
    for before, behind, numbers in _runs(flow, missing):
        if behind is None and not _must_arrive(flow, latest):
            continue
        if not _is_excused(flow, before, behind, numbers[0], latest):
            open_ += numbers
    told = sum(entry.words[0] == flow.to for entry in flow.sender.all("undeliverable"))
    if len(open_) > told:
        yield Violation(
            flow.sent[open_[0]].at, f"{flow}: missing {_ranges(open_)} without a gap, {told} told as undeliverable"
        )


def _has_failed(flow: Flow, sent: Sent, number: int) -> bool:
    """Tell whether a request has come to nothing: its end was told, or nobody is left who could be told."""
    if sent.kind not in ASKS:
        return False
    ends = flow.ends.get(number)
    return ends != ["ok"] if ends else not flow.sender.left


def _must_arrive(flow: Flow, latest: dict[str, Book]) -> bool:
    """Tell whether the last message must have arrived: both have lived to the end."""
    return flow.sender.left and flow.to in latest and latest[flow.to].left


def _runs(flow: Flow, missing: list[int]) -> Iterator[tuple[Got | None, Got | None, list[int]]]:
    """Yield the missing numbers between each two that have arrived."""
    arrived = sorted(flow.got)
    at = 0
    runs: dict[int, list[int]] = defaultdict(list)
    for number in sorted(missing):
        while at < len(arrived) and arrived[at].number < number:
            at += 1
        runs[at].append(number)
    for at, numbers in runs.items():
        yield arrived[at - 1] if at else None, arrived[at] if at < len(arrived) else None, numbers


def _is_excused(flow: Flow, before: Got | None, behind: Got | None, first: int, latest: dict[str, Book]) -> bool:
    since, until = flow.sent[first].at, behind.at if behind else math.inf
    receiver = behind.book if behind else latest[flow.to]
    lost = any(since <= entry.at <= until + LATE for entry in _told(flow.sender, "disconnected"))
    if before is None or before.book is not receiver:
        if flow.sender.name == MAIN:
            # It holds no messages for renderers that are gone, and no connection of its own was lost.
            return before is not None or incarnation_of(receiver.who) > 1 or any(_told(receiver, "disconnected"))
        return lost or any(since <= entry.at <= until + LATE for entry in _told(flow.sender, "gap"))
    if flow.to == MAIN:
        return lost and (behind is None or behind.place != before.place)
    # A gap is told at once, so it may come before messages that have arrived and still wait in the receiver.
    # Or before those were sent that are lost, with the connection of which the receiver knows.
    told = {entry.words[0] for entry in receiver.all("told") if min(since, before.at) <= entry.at <= until}
    # One who is cut off may know it before others have sent to it what is lost with that connection.
    return "gap" in told and (lost or bool(told & {"disconnected", "reconnected"}))


def _told(book: Book, event: str) -> Iterator[Entry]:
    return (entry for entry in book.all("told") if entry.words[0] == event)


def _latest(books: list[Book]) -> dict[str, Book]:
    return {book.name: book for book in sorted(books, key=lambda book: incarnation_of(book.who))}


def _ranges(numbers: list[int]) -> str:
    """Return numbers as "3-5, 9"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    shown = [f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts]
    return ", ".join(shown[:8]) + (f" and {len(shown) - 8} more" if len(shown) > 8 else "")


# What is not a flow


def _wrong(books: Iterable[Book]) -> Iterator[Violation]:
    for book in books:
        for entry in book.all("wrong"):
            yield Violation(entry.at, f"{book.who}: {' '.join(entry.words)}")
        for entry in _told(book, "disconnected"):
            reason = " ".join(entry.words[1:])
            if reason and not reason.startswith(EXPECTED):
                yield Violation(entry.at, f"{book.who}: was disconnected: {reason}")
        for entry in book.all("stream"):
            to, asked, got, outcome = entry.words
            if outcome == "ok" and asked != got:
                yield Violation(entry.at, f"{book.who}: a stream of {asked} items from {to} has ended well after {got}")


def _replies(books: Iterable[Book]) -> Iterator[Violation]:
    for book in books:
        last: dict[str, int] = {}
        for entry in book.all("reply"):
            callee, number = entry.words[0], int(entry.words[1])
            if number <= last.get(callee, -1):
                yield Violation(entry.at, f"{callee} -> {book.who}: reply {number} came behind reply {last[callee]}")
            last[callee] = number


def _ports(books: list[Book]) -> Iterator[Violation]:
    posted: dict[str, list[Entry]] = defaultdict(list)
    ended: dict[str, tuple[Book, int]] = {}
    for book in books:
        for entry in book.all("posted"):
            posted[entry.words[0]].append(entry)
        ended |= {entry.words[0]: (book, int(entry.words[1])) for entry in book.all("ended")}
    for book in books:
        arrived: dict[str, list[Entry]] = defaultdict(list)
        for entry in book.all("port"):
            arrived[entry.words[0]].append(entry)
        for port, entries in arrived.items():
            numbers = [int(entry.words[1]) for entry in entries]
            poster, count = ended.get(port, (book, 0))
            if numbers != list(range(len(numbers))):
                yield Violation(entries[0].at, f"port {port} at {book.who}: has brought {_ranges(numbers)}")
            elif len(numbers) > len(posted[port]):
                yield Violation(entries[0].at, f"port {port} at {book.who}: more has arrived than was posted")
            elif len(numbers) < count and _both_lasted(book, poster, posted[port][0].at):
                yield Violation(entries[-1].at, f"port {port} at {book.who}: {len(numbers)} of {count} have arrived")


def _both_lasted(receiver: Book, poster: Book, since: int) -> bool:
    """Tell whether all of a port's messages must have arrived: nobody's connection was lost since the first."""
    books = (receiver, poster)
    return all(book.left and all(entry.at < since for entry in _told(book, "disconnected")) for book in books)
