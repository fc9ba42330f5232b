"""Connections of the wire core in a state of the test's choice, and what comes out of them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mainbus.wire.connection import Connection
from mainbus.wire.packets import Kind
from mainbus.wire.states import Role, State

LIMIT = 400
"""The largest message of the connections in these tests, in bytes."""


def opened(role: Role, state: State = State.OPEN, limit: int = LIMIT) -> Connection:
    """One end of a connection in a state."""
    wire = Connection(role, limit, State.DIRECT if state is State.DIRECT else State.CONNECTED)
    walk = {State.CONNECTED: (), State.GREETED: (Kind.HELLO,), State.LANE: (Kind.LANE,)}
    for kind in () if state is State.DIRECT else walk.get(state, (Kind.HELLO, Kind.WELCOME)):
        wire.sent(kind)
    if state is State.CLOSED:
        wire.sent(Kind.GOODBYE)
    assert wire.state is state
    return wire


def take(wire: Connection, pieces: Sequence[bytes], **turn: int) -> list[Any]:
    """Feed bytes in pieces; returns the packets and the messages, in order."""
    out: list[Any] = []
    for piece in pieces:
        wire.feed(piece)
        while True:
            before = wire.received, len(out)
            for head, data, at in wire.packets(**turn):
                out.append(data[at : at + head[0]])
                if head[1] >= Kind.SEND and (message := wire.message(head, data, at)) is not None:
                    out.append(message)
            if not turn or (wire.received, len(out)) == before:
                break
    return out


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut bytes at some places."""
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]


def turned(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
