"""Structured clone: what crosses is a copy, as CBOR (RFC 8949).

The common message is a few dicts and lists of plain values: the compiled codec of ``clone_fast`` writes and reads it.
Where that is not to be had, a quick look tells the common message from the rest, and cbor2 writes and reads it.
Everything else, and whatever is wrong, goes to the encoder and the decoder of ``clone_encode`` and ``clone_decode``,
which know all of it: the quick ones may only ever succeed, so that there is one place for each rule.
docs/reference/structured-clone.md has the types and how each is written.
"""

from functools import partial
from typing import Any, Final, NoReturn
from uuid import uuid4

import cbor2

from mainbus.errors import BadMessage, CloneError, LimitExceeded
from mainbus.wire import CODEC
from mainbus.wire.clone_cbor import BYTES, FirstCursor, PastEnd, SplitCursor, head
from mainbus.wire.clone_decode import Decoder, TooManyItems
from mainbus.wire.clone_encode import Encoder
from mainbus.wire.pieces import Body, Pieces
from mainbus.wire.regexp import RegExp

if CODEC == "compiled":
    from mainbus.wire import clone_fast

__all__ = [
    "MAX_DEPTH",
    "BadMessage",
    "CloneError",
    "LimitExceeded",
    "RegExp",
    "decode",
    "encode",
    "encode_body",
    "find_large",
]

MAX_DEPTH: Final = 512

# cbor2's encoder recurses on the C stack, which may be small in a thread.
PLAIN_DEPTH: Final = 64
PLAIN_LEAVES: Final = frozenset({str, int, float, bool, type(None), bytes})

LARGE: Final = 32_768
"""Byte strings from this size on (bytes) are copied once, by us; cbor2 copies them several times."""

FEW_ITEMS: Final = 256
"""A large message with no more items than this is mostly byte strings or text."""

PIECES: Final = 132 * 1024
"""Messages that are longer (bytes) may be in pieces: what fits into one packet is in one."""

# cbor2 ignores what follows an item. So the item is read as the first of two, and the second, whatever it turns out to
# be, must be the one that was put behind it. The sender cannot have put it there: it is this process's secret.
_END: Final = uuid4().bytes
_BEHIND: Final = bytes((0x50,)) + _END
_TWO: Final = b"\x82"

# Null, in the place of a large byte string while all else is written or read.
_STAND_IN: Final = b"\xf6"

# Bytes without which there can be no undefined and no simple value other than false, true and null.
_UNSUSPICIOUS: Final = bytes(set(range(256)) - set(range(0xE0, 0xF4)) - {0xF7, 0xF8})


class _NoTags(dict[int, object]):
    """Stops cbor2 at the first tag; its own decoders compile patterns and parse mail."""

    def __missing__(self, tag: int) -> NoReturn:
        raise RuntimeError("a tag")


_loads = partial(
    cbor2.loads,
    semantic_decoders=_NoTags(),  # type: ignore[arg-type]
    allow_indefinite=False,
    allow_duplicate_keys=False,
    strict_hashable_types=True,
)


def encode(value: object, *, root: str = "args", max_depth: int = MAX_DEPTH) -> bytes:
    """Write a value as bytes.

    Args:
        value: what to clone; a message's body is the list of its args, so that they may share what they hold.
        root: what the value is called in error texts.
        max_depth: how deep containers may be nested, the outermost counted.

    Returns:
        One CBOR item.

    Raises:
        CloneError: something in it cannot be cloned; the text says where and what.
        LimitExceeded: nested too deeply, or the receiver would refuse it for another bound.
    """
    quick = _encode_quickly(value, max_depth)
    return quick if quick is not None else Encoder(root, max_depth).encode(value)


def encode_body(value: object, *, root: str = "args", max_depth: int = MAX_DEPTH) -> Body:
    """As `encode`, but what is large may be in pieces: bytes objects that are part of the value are not copied then."""
    quick = _encode_large(value, max_depth) if CODEC == "compiled" else None
    if quick is None:
        quick = _encode_quickly(value, max_depth)
    return quick if quick is not None else Encoder(root, max_depth).encode_in_pieces(value, PIECES)


def _encode_large(value: object, max_depth: int) -> Body | None:
    """Write a large byte string, or what is common and ends in one; None: it is something else."""
    last = value[-1] if type(value) is list and value else value
    if type(last) is not bytes or len(last) <= PIECES:
        return None
    front: bytes | None = _STAND_IN
    if type(value) is list:
        front = _encode_quickly([*value[:-1], None], max_depth)
    return Pieces((front[:-1] + head(BYTES, len(last)), last)) if front is not None else None


def _encode_quickly(value: object, max_depth: int) -> bytes | None:
    try:
        if CODEC == "compiled":
            return clone_fast.encode(value, max_depth)
        if _is_plain(value, max_depth):
            return cbor2.dumps(value)
    except Exception:  # noqa: BLE001, S110
        # Not common, a lone surrogate, or a type whose metaclass raises. The encoder knows, and says where.
        pass
    return None


def decode(data: Body | memoryview, *, max_depth: int = MAX_DEPTH) -> object:
    """Read the value that bytes say.

    Safe for bytes from anybody: nothing is compiled, imported by name or called, and memory and time stay in proportion
    to the bytes.

    Args:
        data: one CBOR item; a view must be contiguous. Of what is in pieces, the largest one is not copied if it is
            one byte string.
        max_depth: how deep containers may be nested, the outermost counted.

    Returns:
        The value.

    Raises:
        BadMessage: these bytes are no structured clone, or something follows it.
        LimitExceeded: nested too deeply, or over another bound.
    """
    if isinstance(data, Pieces):
        return _decode_pieces(data, max_depth)
    if CODEC == "compiled":
        try:
            return clone_fast.decode(data if type(data) is bytes else bytes(data), max_depth)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001
            # Not common, or wrong. The decoder knows which.
            return Decoder(data, max_depth).decode()
    if len(data) > LARGE:
        try:
            return Decoder(data, max_depth, max_items=FEW_ITEMS).decode()
        except TooManyItems:
            pass
    if type(data) is not bytes:
        data = bytes(data)
    try:
        value, end = _loads(_TWO + data + _BEHIND, max_depth=max_depth)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001
        # Not plain, or wrong. The decoder knows which.
        return Decoder(data, max_depth).decode()
    if end != _END or not _holds_plain(value, data):
        return Decoder(data, max_depth).decode()
    return value


def find_large(first: bytes) -> tuple[int, int] | None:
    """Find the byte string that a message ends in whose first part this is: where it starts, and how long it is.

    It is a hint. None if there is none among the first few items, or something is wrong with them.
    """
    try:
        Decoder(FirstCursor(first), MAX_DEPTH, max_items=FEW_ITEMS).decode()
    except PastEnd as found:
        return found.start, found.size
    except (TooManyItems, BadMessage, LimitExceeded):
        pass
    return None


def _decode_pieces(data: Pieces, max_depth: int) -> object:
    sizes = [len(part) for part in data.parts]
    largest = sizes.index(max(sizes))
    front, back = (b"".join(parts) for parts in (data.parts[:largest], data.parts[largest + 1 :]))
    if CODEC == "compiled" and not back:
        value = _decode_large(front, bytes(data.parts[largest]), max_depth)
        if value is not None:
            return value
    try:
        cursor = SplitCursor(front, bytes(data.parts[largest]), back)
        return Decoder(cursor, max_depth, max_items=FEW_ITEMS).decode()
    except (TooManyItems, BadMessage, LimitExceeded):
        # More than a few items, or wrong, which it can be told of in one piece only.
        return decode(bytes(data), max_depth=max_depth)


def _decode_large(front: bytes, large: bytes, max_depth: int) -> object:
    """Read a large byte string, or what is common and ends in one; None: it is something else, or wrong."""
    start = head(BYTES, len(large))
    if not front.endswith(start):
        return None
    try:
        # If what stands in for it is the last item, those bytes are its head, and no part of anything else.
        value = clone_fast.decode(front[: -len(start)] + _STAND_IN, max_depth)
    except Exception:  # noqa: BLE001
        return None
    if type(value) is list and value and value[-1] is None:
        value[-1] = large
        return value
    return large if front == start else None


def _is_plain(value: object, max_depth: int) -> bool:
    """Tell whether cbor2 writes the value as the encoder would: types, keys, depth, nothing shared."""
    seen = set()
    level = [value]
    for _ in range(min(max_depth, PLAIN_DEPTH)):
        below: list[object] = []
        for container in level:
            if id(container) in seen:
                return False
            seen.add(id(container))
            if type(container) is dict:
                for key in container:
                    if type(key) is not str:
                        return False
                items = container.values()
            elif type(container) is list:
                items = container  # type: ignore[assignment]
            else:
                return False
            for item in items:
                cls = type(item)
                if cls is list or cls is dict:
                    below.append(item)
                elif cls not in PLAIN_LEAVES or (cls is bytes and len(item) >= LARGE):
                    return False
        if not below:
            return True
        level = below
    return False


def _holds_plain(value: object, data: bytes) -> bool:
    """Tell whether what cbor2 read is free of its own objects for undefined and simple values."""
    if len(data) <= LARGE and not data.translate(None, _UNSUSPICIOUS):
        return True
    waiting: list[Any] = [value]
    while waiting:
        item = waiting.pop()
        cls = type(item)
        if cls is list:
            waiting += item
        elif cls is dict:
            waiting += item.values()
        elif cls not in PLAIN_LEAVES:
            return False
    return True
