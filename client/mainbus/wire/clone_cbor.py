"""The few parts of CBOR (RFC 8949) that structured clone is made of: its tags, heads, and a cursor that reads them.

Only the other clone modules import it.
"""

import struct
from typing import Final

from mainbus.errors import BadMessage, LimitExceeded

UNSIGNED: Final = 0
NEGATIVE: Final = 1
BYTES: Final = 2
TEXT: Final = 3
ARRAY: Final = 4
MAP: Final = 5
TAG: Final = 6

DATETIME: Final = 0
BIG_POSITIVE: Final = 2
BIG_NEGATIVE: Final = 3
DECIMAL: Final = 4
ERROR: Final = 27  # "a serialised object: the name of its type, and what it is made of"
SHAREABLE: Final = 28
REFERENCE: Final = 29
RATIONAL: Final = 30
UUID_BYTES: Final = 37
NDARRAY: Final = 40  # RFC 8746: dimensions, then the items row by row
HOMOGENEOUS: Final = 41  # RFC 8746: an array whose items are of one type
IPV4: Final = 52
IPV6: Final = 54
SET: Final = 258
EXTENDED_DECIMAL: Final = 268  # exponent, coefficient, and what an ordinary decimal cannot say: -0, infinity, NaN
DATE: Final = 1004
REGEXP: Final = 21066  # ECMAScript: source and flags

FALSE: Final = 0xF4
TRUE: Final = 0xF5
NULL: Final = 0xF6
UNDEFINED: Final = 0xF7
HALF: Final = 0xF9
SINGLE: Final = 0xFA
DOUBLE: Final = 0xFB

# What may follow an initial byte as its argument, by the low five bits.
_WIDTHS: Final = {24: 1, 25: 2, 26: 4, 27: 8}
_FLOATS: Final = {HALF: ">e", SINGLE: ">f", DOUBLE: ">d"}

MAX_RATIO_BITS: Final = 16_384
"""Bits in a Decimal's coefficient, and in each part of a Fraction: turning them over takes quadratic time."""


def head(major: int, argument: int) -> bytes:
    """Write an item's head in its shortest form."""
    major <<= 5
    if argument < 24:
        return bytes((major | argument,))
    if argument < 0x100:
        return bytes((major | 24, argument))
    if argument < 0x10000:
        return struct.pack(">BH", major | 25, argument)
    if argument < 0x1_0000_0000:
        return struct.pack(">BI", major | 26, argument)
    return struct.pack(">BQ", major | 27, argument)


def integer(value: int) -> bytes:
    """Write an int of any size."""
    major, magnitude = (UNSIGNED, value) if value >= 0 else (NEGATIVE, ~value)
    if magnitude < 1 << 64:
        return head(major, magnitude)
    digits = magnitude.to_bytes((magnitude.bit_length() + 7) // 8, "big")
    return head(TAG, BIG_NEGATIVE if major else BIG_POSITIVE) + byte_string(digits)


def byte_string(value: bytes) -> bytes:
    """Write a byte string."""
    return head(BYTES, len(value)) + value


def text_string(value: str) -> bytes:
    """Write a text string.

    Raises:
        UnicodeEncodeError: a lone surrogate.
    """
    encoded = value.encode()
    return head(TEXT, len(encoded)) + encoded


class Cursor:
    """Reads one item after the other; every method raises BadMessage where the bytes are not what it reads.

    Args:
        data: what to read. A length that it declares allocates nothing: there must be as many bytes.
    """

    __slots__ = ("_data", "at", "end")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data if type(data) is bytes else memoryview(data).cast("B")
        self.at = 0
        self.end = len(data)

    def head(self) -> tuple[int, int]:
        """Read a head: its initial byte and its argument."""
        at = self.at
        if at >= self.end:
            raise BadMessage("The message ends in the middle of an item")
        first = self._data[at]
        self.at = at + 1
        low = first & 31
        return first, low if low < 24 else self._argument(low)

    def take(self, size: int) -> bytes | memoryview:
        """Read this many bytes."""
        start = self.at
        stop = start + size
        if stop > self.end:
            raise BadMessage("The message ends in the middle of an item")
        self.at = stop
        return self._data[start:stop]

    def sized(self, major: int) -> int:
        """Read the head of a string or a container: how many bytes or items follow."""
        first, count = self.head()
        if first >> 5 != major:
            raise BadMessage("The content of a tag is of the wrong type")
        return count

    def array(self, count: int) -> None:
        """Read the head of an array of this many items."""
        if self.sized(ARRAY) != count:
            raise BadMessage("The content of a tag has the wrong number of items")

    def bytes(self) -> bytes | memoryview:
        """Read a byte string."""
        return self.take(self.sized(BYTES))

    def text(self) -> str:
        """Read a text string."""
        return text_of(self.take(self.sized(TEXT)))

    def integer(self) -> int:
        """Read an int of any size."""
        first, argument = self.head()
        match first >> 5, argument:
            case (0, _):
                return argument
            case (1, _):
                return ~argument
            case (6, 2):
                return int.from_bytes(self.bytes(), "big")
            case (6, 3):
                return ~int.from_bytes(self.bytes(), "big")
        raise BadMessage("The content of a tag is of the wrong type")

    def ratio_part(self) -> int:
        """Read an int that is bounded because what is made of it takes quadratic time."""
        value = self.integer()
        return check_ratio_part(value)

    def _argument(self, low: int) -> int:
        """Read the argument that stands behind an initial byte with these low bits."""
        width = _WIDTHS.get(low)
        if width is None:
            raise BadMessage("Lengths that are indefinite, and reserved ones, are not part of structured clone")
        return int.from_bytes(self.take(width), "big")


class PastEnd(Exception):
    """A byte string or text begins in what is there, and ends behind it."""

    def __init__(self, start: int, size: int) -> None:
        super().__init__(start, size)
        self.start = start
        self.size = size


class FirstCursor(Cursor):
    """Reads the first part of a message: what is longer than that raises PastEnd."""

    __slots__ = ()

    def take(self, size: int) -> bytes | memoryview:
        """Read this many bytes."""
        if self.at + size > self.end:
            raise PastEnd(self.at, size)
        return super().take(size)


class SplitCursor(Cursor):
    """Reads a message in three parts, the second of which is one byte string, and taken as it is.

    Raises BadMessage, too, where the second part turns out to be anything else.

    Args:
        front: What is in front of the byte string.
        middle: The byte string, without its head.
        back: What is behind it.
    """

    __slots__ = ("_back", "_middle", "_start", "_stop")

    def __init__(self, front: bytes, middle: bytes, back: bytes) -> None:
        super().__init__(front)
        self._middle = middle
        self._back = back
        self._start = len(front)
        self._stop = self._start + len(middle)
        self.end = self._stop + len(back)

    def head(self) -> tuple[int, int]:
        """Read a head: its initial byte and its argument."""
        first = self.take(1)[0]
        low = first & 31
        return first, low if low < 24 else self._argument(low)

    def take(self, size: int) -> bytes | memoryview:
        """Read this many bytes."""
        at, self.at = self.at, self.at + size
        if self.at <= self._start:
            return self._data[at : self.at]
        if at >= self._stop and self.at <= self.end:
            return self._back[at - self._stop : self.at - self._stop]
        if at == self._start and self.at == self._stop:
            return self._middle
        raise BadMessage("The message ends in the middle of an item")


def text_of(encoded: bytes | memoryview) -> str:
    """Decode UTF-8."""
    try:
        return str(encoded, "utf-8")
    except UnicodeDecodeError:
        raise BadMessage("A text is not UTF-8") from None


def float_of(first: int, argument: int) -> float:
    """Make the float that a head holds."""
    form = _FLOATS[first]
    value: float = struct.unpack(form, argument.to_bytes(struct.calcsize(form), "big"))[0]
    return value


def check_ratio_part(value: int) -> int:
    """Return the value if it is within MAX_RATIO_BITS."""
    if value.bit_length() > MAX_RATIO_BITS:
        raise LimitExceeded("The size of a Decimal or Fraction in bits", MAX_RATIO_BITS)
    return value
