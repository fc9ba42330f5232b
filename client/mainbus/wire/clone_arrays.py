"""Arrays of numbers, both ways: ``array.array`` and NumPy's, as the typed arrays of RFC 8746.

Only the other clone modules import it. NumPy is imported when an array of its arrives, and never before.
"""

import math
import struct
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from mainbus.errors import BadMessage, LimitExceeded
from mainbus.wire import clone_cbor as cbor
from mainbus.wire.clone_cbor import Cursor, head
from mainbus.wire.clone_scalars import Refused

if TYPE_CHECKING:
    import numpy as np

__all__ = ["DECODERS", "array_parts", "is_ndarray", "ndarray_parts"]

Parts = Sequence[bytes | memoryview]

MAX_DIMENSIONS: Final = 32
MAX_ROWS: Final = 65_536
"""Lists without items that an array may become where there is no NumPy; its wire form says nothing of their number."""

SMALLEST: Final = 64
LITTLE: Final = 4
CLAMPED: Final = 68
# The tag is 64, + 8 for signed or + 16 for floats, + 4 for little endian, + the size's logarithm. 68 would be a little
# endian byte and is Uint8ClampedArray; 76 is nothing; floats of 128 bits (83, 87) have no type in Python.
KINDS: Final = {"u": 0, "i": 8, "f": 16}
HALF_FLOATS: Final = (80, 84)
CODES: Final = dict(zip(("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8"), "BHIQbhiqfd", strict=True))
SIGNED: Final = "bhilq"
NO_NUMBERS: Final = "uw"

TO_BOOLS: Final = bytes.maketrans(b"\x00\x01", bytes((cbor.FALSE, cbor.TRUE)))
FROM_BOOLS: Final = bytes.maketrans(bytes((cbor.FALSE, cbor.TRUE)), b"\x00\x01")


def _tag(kind: str, size: int, little: bool) -> int:
    log = size.bit_length() - 1 - (kind == "f")
    return SMALLEST + KINDS[kind] + (LITTLE if little and size > 1 else 0) + log


FORMS: Final[Mapping[int, tuple[str, int, bool]]] = MappingProxyType(
    {
        _tag(kind, size, little): (kind, size, little)
        for kind, sizes in {"u": (1, 2, 4, 8), "i": (1, 2, 4, 8), "f": (2, 4, 8)}.items()
        for size in sizes
        for little in (False, True)
    }
    | {CLAMPED: ("u", 1, True)}
)
"""What each tag of a typed array holds: kind, size in bytes, whether little endian."""


def array_parts(value: "array[Any]") -> Parts:
    """Write an ``array.array``; its buffer goes out without a copy of its own."""
    code = value.typecode
    if code in NO_NUMBERS:
        raise Refused(f"array of {code!r}")
    kind = "f" if code in "fd" else "i" if code in SIGNED else "u"
    tag = _tag(kind, value.itemsize, sys.byteorder == "little")
    return _typed(tag, memoryview(value).cast("B"))


def _typed(tag: int, data: bytes | memoryview) -> Parts:
    return head(cbor.TAG, tag) + head(cbor.BYTES, len(data)), data


def is_ndarray(cls: type) -> bool:
    """Tell whether this is NumPy's array, or a plain view of a file as one; others may hold more, such as a mask."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and (cls is numpy.ndarray or cls is numpy.memmap)


def ndarray_parts(value: "np.ndarray[Any, Any]") -> Parts:
    """Write NumPy's array, row by row."""
    if value.ndim > MAX_DIMENSIONS:
        raise LimitExceeded("The number of an array's dimensions", MAX_DIMENSIONS)
    dimensions = head(cbor.ARRAY, value.ndim) + b"".join(cbor.integer(int(length)) for length in value.shape)
    start = head(cbor.TAG, cbor.NDARRAY) + head(cbor.ARRAY, 2) + dimensions
    dtype = value.dtype
    if dtype.kind == "b":
        flags = value.tobytes().translate(TO_BOOLS)
        return start, head(cbor.TAG, cbor.HOMOGENEOUS) + head(cbor.ARRAY, len(flags)), flags
    if dtype.kind not in KINDS or dtype.itemsize > 8:
        raise Refused(f"array of {dtype}")
    little = dtype.byteorder == "<" or (dtype.byteorder == "=" and sys.byteorder == "little")
    return start, *_typed(_tag(dtype.kind, dtype.itemsize, little), _bytes_of(value))


def _bytes_of(value: "np.ndarray[Any, Any]") -> bytes | memoryview:
    if value.flags.c_contiguous and value.size and value.ndim:
        return value.reshape(-1).view("u1").data
    return value.tobytes()


# Decoding: the cursor stands behind the tag.


def _read_array(tag: int) -> Callable[[Cursor], object]:
    kind, size, little = FORMS[tag]
    # There is no code for half floats: they arrive wider, and exact.
    code = CODES.get(f"{kind}{size}", "f")

    def read(cursor: Cursor) -> "array[Any]":
        data = _whole_items(cursor.bytes(), size)
        if tag in HALF_FLOATS:
            return array(code, struct.unpack(f"{'<' if little else '>'}{len(data) // 2}e", data))
        items = array(code, data if isinstance(data, bytes) else bytes(data))
        if little != (sys.byteorder == "little"):
            items.byteswap()
        return items

    return read


def _whole_items(data: bytes | memoryview, size: int) -> bytes | memoryview:
    if len(data) % size:
        raise BadMessage("A typed array ends in the middle of an item")
    return data


def _read_ndarray(cursor: Cursor) -> object:
    cursor.array(2)
    count = cursor.sized(cbor.ARRAY)
    if count > MAX_DIMENSIONS:
        raise LimitExceeded("The number of an array's dimensions", MAX_DIMENSIONS)
    shape = [cursor.integer() for _ in range(count)]
    kind, size, little, data = _read_items(cursor)
    if any(length < 0 for length in shape) or math.prod(shape) * size != len(data):
        raise BadMessage("The dimensions of an array do not fit its items")
    try:
        import numpy
    except ImportError:
        return _nested(list(_items(kind, size, little, data)), shape)
    try:
        # A bytearray, for an array that can be written to.
        return numpy.ndarray(shape, f"{'<' if little else '>'}{kind}{size}", bytearray(data))
    except (ValueError, OverflowError):
        raise BadMessage("NumPy cannot make an array of these dimensions") from None


def _read_items(cursor: Cursor) -> tuple[str, int, bool, bytes | memoryview]:
    first, tag = cursor.head()
    if first >> 5 == cbor.TAG and tag == cbor.HOMOGENEOUS:
        flags = bytes(cursor.take(cursor.sized(cbor.ARRAY)))
        if flags.translate(None, bytes((cbor.FALSE, cbor.TRUE))):
            raise BadMessage("The items of an array are neither numbers nor booleans")
        return "b", 1, True, flags.translate(FROM_BOOLS)
    if first >> 5 != cbor.TAG or tag not in FORMS:
        raise BadMessage("The items of an array are neither numbers nor booleans")
    return *FORMS[tag], cursor.bytes()


def _items(kind: str, size: int, little: bool, data: bytes | memoryview) -> Sequence[Any]:
    code = "?" if kind == "b" else "e" if (kind, size) == ("f", 2) else CODES[f"{kind}{size}"]
    return struct.unpack(f"{'<' if little else '>'}{len(data) // size}{code}", data)


def _nested(items: list[Any], shape: list[int]) -> Any:
    """Do what ``tolist`` does."""
    if not shape:
        return items[0]
    if any(math.prod(shape[:axis]) > len(items) + MAX_ROWS for axis in range(1, len(shape))):
        raise LimitExceeded("The number of an array's empty rows", MAX_ROWS)
    for axis in range(len(shape) - 1, 0, -1):
        length = shape[axis]
        rows = math.prod(shape[:axis])
        items = [items[row * length : (row + 1) * length] for row in range(rows)]
    return items


DECODERS: Final[Mapping[int, Callable[[Cursor], object]]] = MappingProxyType(
    {**{tag: _read_array(tag) for tag in FORMS}, cbor.NDARRAY: _read_ndarray}
)
"""How to read the content of a tag; they raise BadMessage and LimitExceeded only."""
