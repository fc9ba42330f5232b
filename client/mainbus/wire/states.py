"""The states of a connection and its moves, as data. Knows no role's code: docs and tests draw from it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from mainbus.wire.packets import Kind


class Role(Enum):
    """Which end of a connection this is."""

    BROKER = "broker"
    RENDERER = "renderer"

    # That of an enum is Python code, and each connection looks its states up.
    __hash__ = object.__hash__


class State(Enum):
    """Where a connection stands. Both ends walk the same states."""

    CONNECTED = "connected"
    """Nothing was said yet: the renderer speaks first."""
    GREETED = "greeted"
    """The renderer has said who it is and waits for the broker's word."""
    OPEN = "open"
    LANE = "lane"
    """A second connection of an open one, for calls that block their thread."""
    DIRECT = "direct"
    """Between two renderers, made by the broker for one channel: both begin in this state."""
    CLOSED = "closed"
    """One end has said goodbye, or was refused: nothing more is read."""

    # As of `Role`.
    __hash__ = object.__hash__


_MESSAGES = frozenset(
    {
        Kind.SEND,
        Kind.POST,
        Kind.INVOKE,
        Kind.BROADCAST,
        Kind.STREAM,
        Kind.RESULT,
        Kind.ERROR,
        Kind.CANCEL,
        Kind.ITEM,
        Kind.DEMAND,
    }
)
_PORTS = frozenset({Kind.PORT_MESSAGE, Kind.PORT_CREDIT, Kind.PORT_CLOSE, Kind.PORT_SWITCH})
_NOTICES = frozenset(
    {
        Kind.READY,
        Kind.QUERY,
        Kind.PAUSE,
        Kind.PAUSED,
        Kind.RESUME,
        Kind.UNDELIVERABLE,
        Kind.BAD_MESSAGE,
        Kind.WATCH,
        Kind.WHO,
        Kind.ONCE,
        Kind.SYNC,
        Kind.FRAME,
        Kind.FRAME_CLOSED,
        Kind.GUEST,
        Kind.GUEST_CLOSED,
        Kind.POOL,
        Kind.POOL_READY,
        Kind.POOL_FREE,
    }
)

MOVES: Final[Mapping[State, Mapping[Kind, State]]] = {
    State.CONNECTED: {Kind.HELLO: State.GREETED, Kind.LANE: State.LANE, Kind.REFUSED: State.CLOSED},
    State.GREETED: {Kind.WELCOME: State.OPEN, Kind.REFUSED: State.CLOSED},
    State.OPEN: {Kind.GOODBYE: State.CLOSED},
    State.LANE: {Kind.REFUSED: State.CLOSED, Kind.GOODBYE: State.CLOSED},
    State.DIRECT: {Kind.PORT_SWITCH: State.CLOSED, Kind.PORT_CLOSE: State.CLOSED},
    State.CLOSED: {},
}
"""Kinds that move a connection to another state, whoever sends them; a direct one only whoever reads them."""

FIRST: Final = (State.CONNECTED, State.DIRECT)
"""Where connections begin."""

READABLE: Final[Mapping[Role, Mapping[State, frozenset[Kind]]]] = {
    Role.BROKER: {
        State.CONNECTED: frozenset({Kind.HELLO, Kind.LANE}),
        State.GREETED: frozenset(),
        State.OPEN: _MESSAGES | _NOTICES | _PORTS | {Kind.PORT_DIRECT, Kind.GOODBYE},
        State.LANE: _MESSAGES | _NOTICES | _PORTS | {Kind.PORT_DIRECT, Kind.REPEAT, Kind.GOODBYE},
        State.DIRECT: frozenset(),
        State.CLOSED: frozenset(),
    },
    Role.RENDERER: {
        State.CONNECTED: frozenset({Kind.REFUSED}),
        State.GREETED: frozenset({Kind.WELCOME, Kind.REFUSED}),
        State.OPEN: _MESSAGES
        | _PORTS
        | {Kind.PORT_MOVED}
        | {Kind.PAUSE, Kind.RESUME, Kind.CREDIT, Kind.UNDELIVERABLE, Kind.GAP, Kind.ABORT, Kind.JOINED, Kind.LEFT}
        | {Kind.GUEST, Kind.GUEST_CLOSED, Kind.HOST}
        | {Kind.POOL, Kind.POOL_READY, Kind.POOL_FREE, Kind.POOL_CLOSED}
        | {Kind.WHO, Kind.GOODBYE},
        State.LANE: frozenset({Kind.LANE, Kind.REFUSED, Kind.RESULT, Kind.ERROR, Kind.GOODBYE}),
        State.DIRECT: _PORTS,
        State.CLOSED: frozenset(),
    },
}
"""What each end may read in each state; anything else is the other end's fault."""

CHANNELED: Final = frozenset({Kind.SEND, Kind.POST, Kind.SYNC, Kind.INVOKE, Kind.BROADCAST, Kind.QUERY, Kind.STREAM})
"""Kinds that name a channel."""

FRAGMENTED: Final = frozenset(
    {
        Kind.SEND,
        Kind.POST,
        Kind.SYNC,
        Kind.INVOKE,
        Kind.BROADCAST,
        Kind.STREAM,
        Kind.RESULT,
        Kind.ERROR,
        Kind.ITEM,
        Kind.PORT_MESSAGE,
    }
)
"""Kinds whose body may be longer than one packet."""
