"""How much a peer may make dicts and sets cost. Only the decoder imports it.

Python finds a key by its hash, and compares it with each one that has the same. The hashes of text and bytes are
secret to each process; those of numbers, and of what is made of numbers, anybody can compute, and so give all keys of a
dict the same one. Hence two bounds. A container has at most `MAX_CHOSEN` keys of the second kind. And the comparisons
that equal hashes cost are added up for the whole message, weighed by how long one takes: honest messages have next to
none.
"""

from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address
from types import NoneType
from typing import Final
from uuid import UUID

from mainbus.errors import BadMessage, LimitExceeded
from mainbus.wire.regexp import RegExp

__all__ = ["MAX_CHOSEN", "MAX_WORK", "Keys", "Work", "is_chosen", "weigh"]

MAX_CHOSEN: Final = 1_024
"""Keys or set members per container whose hash a peer can choose."""

MAX_WORK: Final = 1 << 24
"""Comparisons per message among keys with equal hashes, in units of comparing two ints: about a second's worth."""

# An int up to here is its own hash, so no two have the same.
SMALL: Final = (1 << 61) - 1

# Their hash is made from the process's secret, or there are too few values to matter.
SAFE: Final = frozenset({str, bytes, bool, NoneType, date, IPv4Address, RegExp})

# How many comparisons of ints one comparison takes; those of 16 and more are written in Python.
WEIGHTS: Final[dict[type, int]] = {Decimal: 4, datetime: 4, UUID: 16, IPv6Address: 32, Fraction: 32}
# To compare these, Python turns binary digits into decimal ones, in quadratic time.
QUADRATIC: Final = frozenset({int, Decimal, Fraction})
BYTES_PER_UNIT: Final = 32


class Work:
    """What is left of MAX_WORK for one message."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_WORK

    def spend(self, units: int) -> None:
        """Take this much.

        Raises:
            LimitExceeded: there is not as much left.
        """
        self.left -= units
        if self.left < 0:
            raise LimitExceeded("The work of telling apart keys with equal hashes", MAX_WORK)


class Keys:
    """The keys of one container whose hash a peer can choose."""

    __slots__ = ("_hashes", "_work", "chosen", "spent")

    def __init__(self, work: Work) -> None:
        self._work = work
        self._hashes: dict[int, int] | None = None
        self.chosen = 0
        self.spent = 0

    def admit(self, key: object, weight: int) -> None:
        """Charge for a key, before it goes into the container.

        Raises:
            BadMessage: it has no hash.
            LimitExceeded: over one of the bounds.
        """
        if not is_chosen(key):
            return
        self.chosen += 1
        if self.chosen > MAX_CHOSEN:
            raise LimitExceeded("The number of keys whose hash can be chosen", MAX_CHOSEN)
        try:
            value = hash(key)
        except TypeError:
            raise BadMessage("A key has no hash") from None  # a signalling NaN
        if self._hashes is None:
            self._hashes = {}
        equals = self._hashes.get(value, 0)
        self._hashes[value] = equals + 1
        self.spent += equals * weight
        self._work.spend(equals * weight)


def is_chosen(key: object) -> bool:
    """Tell whether a peer can choose the hash of this key."""
    cls = type(key)
    if cls is int:
        assert isinstance(key, int)
        return not -SMALL <= key <= SMALL
    return cls not in SAFE


def weigh(key: object, size: int) -> int:
    """Tell what one comparison with this key costs, if it is no container.

    Args:
        key: the key.
        size: the bytes it was made of.
    """
    cls = type(key)
    units = size // BYTES_PER_UNIT
    return WEIGHTS.get(cls, 1) + (units * units if cls in QUADRATIC else units)
