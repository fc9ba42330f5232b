"""Encoding: one walk over any value, for all that the fast way of ``clone`` leaves. Only ``clone`` imports it.

It keeps a stack of its own instead of recursing. Whether a container is referred to again is known only later, so its
head is marked as shareable when the walk comes to it a second time.

Nothing that a subclass overrides is called, and types are told by ``type()``, which no object can lie about. The
application's own code runs in few places (properties behind a dataclass's fields, time zones, what describes an
exception); what it raises becomes a CloneError, and what it changes meanwhile does not spoil the message: the items of
a container are copied before its head is written.
"""

from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface
from operator import length_hint
from typing import Any, Final

from mainbus.describe import describe
from mainbus.errors import BadMessage, CloneError, LimitExceeded, MainbusError
from mainbus.wire import clone_arrays
from mainbus.wire import clone_cbor as cbor
from mainbus.wire.clone_cbor import head, text_string
from mainbus.wire.clone_decode import ERROR_NAME, Decoder
from mainbus.wire.clone_keys import Work, is_chosen
from mainbus.wire.clone_objects import guarded, is_record, record, value_of, view_of_bytes
from mainbus.wire.clone_scalars import ENCODERS, Refused
from mainbus.wire.pieces import Body, Pieces

__all__ = ["Encoder"]

MAX_COPIES: Final = 1 << 24
"""Items of tuples and frozensets that are written once more: they are copied wherever they occur, and could double the
message with every level of nesting."""

KEPT: Final = 65_536
"""Byte strings from this size on (bytes) are not copied into a message that has room for them in pieces."""

# Their base class is an address, which would say only half of it.
NOT_THEIR_BASE: Final = frozenset({IPv4Interface, IPv6Interface})
ERROR_HEAD: Final = head(cbor.TAG, cbor.ERROR) + head(cbor.ARRAY, 2) + text_string(ERROR_NAME)
SET_TAG: Final = head(cbor.TAG, cbor.SET)
SHAREABLE_TAG: Final = head(cbor.TAG, cbor.SHAREABLE)
REFERENCE_TAG: Final = head(cbor.TAG, cbor.REFERENCE)


class _Key(bytes):
    """A key that is encoded already, among the items of its dict."""

    __slots__ = ()


# Bytes are not here: they are not copied to get their head.
SCALARS: Final[dict[type, Callable[[Any], bytes]]] = {**ENCODERS, _Key: lambda key: key}
del SCALARS[bytes]


class _Frame:
    """A container that is being written. ``labels``: the keys of a dict; None for a list."""

    __slots__ = ("children", "labels", "size")

    def __init__(self, children: list[Any], labels: Sequence[object] | None) -> None:
        self.children: Iterator[Any] = iter(children)
        self.size = len(children)
        self.labels = labels

    def label(self) -> str:
        """Say where the item is that was taken last."""
        position = self.size - length_hint(self.children) - 1
        if self.labels is None:
            return f"[{position}]"
        key = self.labels[position // 2]
        if type(key) is str and key.isidentifier():
            return f".{key}"
        return f"[{_shown(key)}]"


def _shown(key: object) -> str:
    try:
        text = repr(key)
    except Exception:  # noqa: BLE001
        # An int may be too long to be shown; the path needs only something that helps.
        text = type(key).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


class Encoder:
    """Encodes one value.

    Args:
        root: what the value is called in error texts.
        max_depth: how deep containers may be nested.
    """

    __slots__ = ("_alive", "_copies", "_max_depth", "_parts", "_references", "_root", "_seen", "_stack", "_work")

    def __init__(self, root: str, max_depth: int) -> None:
        self._root = root
        self._max_depth = max_depth
        self._parts: list[bytes | memoryview] = []
        self._stack: list[_Frame] = []
        # By id: which of the parts is the head. They are kept alive, so that no other object gets the id.
        self._seen: dict[int, int] = {}
        self._alive: list[object] = []
        # Which part refers to which, as a part too.
        self._references: list[tuple[int, int]] = []
        self._copies = 0
        self._work = Work()

    def encode(self, value: object) -> bytes:
        """Return the value's bytes.

        Raises:
            CloneError: something in it cannot be cloned.
            LimitExceeded: over a bound.
        """
        return bytes(self.encode_in_pieces(value, 1 << 62))

    def encode_in_pieces(self, value: object, least: int) -> Body:
        """Return the value's bytes; if they are more than `least`, large byte strings stay where they are.

        Only those that nobody can change: all else is copied, as it is at this moment.
        """
        try:
            self._write(value)
            self._walk()
            self._number_references()
            return b"".join(self._parts) if sum(map(len, self._parts)) <= least else _in_pieces(self._parts)
        except Refused as refused:
            raise CloneError(self._path(), str(refused)) from refused.__cause__
        except (MainbusError, MemoryError):
            raise
        except RecursionError:
            # Keys are written, hashed and compared recursively, on top of whatever the caller's stack holds.
            raise LimitExceeded("A key is nested too deeply for what is left of the stack") from None
        except Exception as error:
            # To look a type up calls its metaclass, which may be the application's.
            raise CloneError(self._path(), f"object whose type raised {type(error).__name__}") from error
        finally:
            # Views among them keep a bytearray from growing, and a traceback would keep the views.
            self._parts.clear()

    def _path(self) -> str:
        return self._root + "".join(frame.label() for frame in self._stack)

    def _walk(self) -> None:
        stack, append = self._stack, self._parts.append
        while stack:
            depth = len(stack)
            for child in stack[-1].children:
                scalar = SCALARS.get(type(child))
                if scalar is not None:
                    append(scalar(child))
                else:
                    self._write_other(child)
                    if len(stack) != depth:
                        break
            else:
                stack.pop()

    def _write(self, value: object) -> None:
        scalar = SCALARS.get(type(value))
        if scalar is not None:
            self._parts.append(scalar(value))
        else:
            self._write_other(value)

    def _write_other(self, value: object) -> None:
        cls: Any = type(value)
        _writer_of(cls)(self, value)

    def _number_references(self) -> None:
        """Mark what is referred to. A reference is a number: the how manieth of those marked it means."""
        heads = sorted({target for _, target in self._references})
        for target in heads:
            self._parts[target] = SHAREABLE_TAG + bytes(self._parts[target])
        numbers = {target: number for number, target in enumerate(heads)}
        for part, target in self._references:
            self._parts[part] = REFERENCE_TAG + head(cbor.UNSIGNED, numbers[target])

    # Writers, one for each type; they know only that the value is of the type or of a subclass

    def write_list(self, value: list[Any]) -> None:
        """Write a list."""
        if not self._again(value):
            self._push(list.copy(value))

    def write_tuple(self, value: tuple[Any, ...]) -> None:
        """Write a tuple, as a list."""
        self._count_copy(value, tuple.__len__(value))
        self._push(list(tuple.__iter__(value)))

    def write_dict(self, value: dict[Any, Any]) -> None:
        """Write a dict."""
        if not self._again(value):
            self._push_map(value, list(dict.items(value)))

    def write_ordered_dict(self, value: "OrderedDict[Any, Any]") -> None:
        """Write a dict that has an order of its own."""
        if not self._again(value):
            self._push_map(value, list(OrderedDict.items(value)))

    def write_set(self, value: set[Any]) -> None:
        """Write a set."""
        if not self._again(value):
            self._members(value, list(set.__iter__(value)))

    def write_frozenset(self, value: frozenset[Any]) -> None:
        """Write a frozenset, as a set."""
        self._count_copy(value, frozenset.__len__(value))
        self._members(value, list(frozenset.__iter__(value)))

    def write_bytes(self, value: bytes) -> None:
        """Write bytes."""
        self._append_buffer(value if type(value) is bytes else bytes.__bytes__(value))

    def write_bytearray(self, value: bytearray) -> None:
        """Write a bytearray, as bytes."""
        self._append_buffer(memoryview(value))

    def write_memoryview(self, value: memoryview) -> None:
        """Write a view of bytes, as bytes."""
        self._append_buffer(view_of_bytes(value))

    def write_array(self, value: "array[Any]") -> None:
        """Write an array of numbers."""
        self._parts += clone_arrays.array_parts(value)

    def write_ndarray(self, value: Any) -> None:
        """Write NumPy's array."""
        self._parts += clone_arrays.ndarray_parts(value)

    def write_enum(self, value: Enum) -> None:
        """Write an enum member, as its value."""
        self._write(value_of(value))

    def write_error(self, value: BaseException) -> None:
        """Write an exception."""
        description = describe(value)
        self._parts.append(ERROR_HEAD)
        self._push_map(description, list(description.items()))

    def write_record(self, value: object) -> None:
        """Write a dataclass's or Struct's instance, as a dict."""
        if not self._again(value):
            self._push_map(value, record(value))

    def write_subclass(self, value: Any, encode: Callable[[Any], bytes]) -> None:
        """Write an instance of a subclass of a scalar type."""
        self._parts.append(guarded(encode, value))

    # Parts of them

    def _again(self, value: object) -> bool:
        """Tell whether a container was written before; if so, refer to it."""
        key, here = id(value), len(self._parts)
        target = self._seen.setdefault(key, here)
        if target == here:
            self._alive.append(value)
            return False
        self._references.append((here, target))
        self._parts.append(b"")
        return True

    def _count_copy(self, value: object, size: int) -> None:
        key = id(value)
        if key not in self._seen:
            self._seen[key] = len(self._parts)
            self._alive.append(value)
        else:
            self._copy(size)

    def _copy(self, size: int) -> None:
        self._copies += 1 + size
        if self._copies > MAX_COPIES:
            raise LimitExceeded("The number of items in copies of a tuple", MAX_COPIES)

    def _check_depth(self) -> None:
        if len(self._stack) >= self._max_depth:
            raise LimitExceeded("The nesting depth", self._max_depth)

    def _push(self, items: list[Any]) -> None:
        self._check_depth()
        self._parts.append(head(cbor.ARRAY, len(items)))
        self._stack.append(_Frame(items, None))

    def _push_map(self, value: object, items: Sequence[tuple[Any, Any]]) -> None:
        self._check_depth()
        labels = [key for key, _ in items]
        keys = self._keys(value, labels)
        self._parts.append(head(cbor.MAP, len(items)))
        children: list[Any] = []
        for key, (_, item) in zip(keys, items, strict=True):
            children += (_Key(key), item)
        self._stack.append(_Frame(children, labels))

    def _members(self, value: object, members: list[Any]) -> None:
        self._check_depth()
        keys = self._keys(value, members)
        self._parts.append(SET_TAG + head(cbor.ARRAY, len(members)))
        self._parts += keys

    def _append_buffer(self, data: bytes | memoryview) -> None:
        self._parts.append(head(cbor.BYTES, len(data)))
        self._parts.append(data)

    # Keys

    def _keys(self, value: object, keys: list[Any]) -> list[bytes]:
        """Encode a dict's keys or a set's members."""
        encoded = [self._key(key) for key in keys]
        if any(type(key) not in PLAIN_KEYS and (type(key) is not int or is_chosen(key)) for key in keys):
            self._check_keys(value, encoded)
        return encoded

    def _check_keys(self, value: object, encoded: list[bytes]) -> None:
        """Decode what may not arrive: too many keys to choose, or two that were different and will be equal."""
        message = b"".join([SET_TAG, head(cbor.ARRAY, len(encoded)), *encoded])
        try:
            Decoder(message, self._max_depth - len(self._stack), work=self._work).decode()
        except BadMessage as error:
            raise Refused(f"{type(value).__name__} with keys that would arrive equal") from error

    def _key(self, key: Any) -> bytes:
        cls = type(key)
        encode = ENCODERS.get(cls)
        if encode is not None:
            return encode(key)
        bases = cls.__mro__
        if Enum in bases:
            return self._key(value_of(key))
        if cls is memoryview:
            return cbor.byte_string(bytes(view_of_bytes(key)))
        for base in bases:
            if base is tuple:
                return self._nested_key(b"", list(tuple.__iter__(key)))
            if base is frozenset:
                return self._nested_key(SET_TAG, list(frozenset.__iter__(key)))
            if base in ENCODERS and cls not in NOT_THEIR_BASE:
                return guarded(ENCODERS[base], key)
        raise Refused(f"{cls.__name__} as a key or in a set")

    def _nested_key(self, tag: bytes, items: list[Any]) -> bytes:
        self._copy(len(items))
        return b"".join([tag, head(cbor.ARRAY, len(items)), *map(self._key, items)])


# Keys of these types, and ints that are their own hash, arrive as different as they are. So does True beside 2.
PLAIN_KEYS: Final = frozenset({str, bytes, bool, type(None)})

Writer = Callable[[Encoder, Any], None]

WRITERS: Final[dict[type, Writer]] = {
    list: Encoder.write_list,
    tuple: Encoder.write_tuple,
    dict: Encoder.write_dict,
    OrderedDict: Encoder.write_ordered_dict,
    set: Encoder.write_set,
    frozenset: Encoder.write_frozenset,
    bytes: Encoder.write_bytes,
    bytearray: Encoder.write_bytearray,
    memoryview: Encoder.write_memoryview,
    array: Encoder.write_array,
    BaseException: Encoder.write_error,
}


@lru_cache(maxsize=256)
def _writer_of(cls: Any) -> Writer:
    """Choose how to write the instances of a type that is no scalar."""
    bases = cls.__mro__
    # Before its other bases: an IntEnum is an int, too, and need not have itself as its value.
    if Enum in bases:
        return Encoder.write_enum
    if clone_arrays.is_ndarray(cls):
        return Encoder.write_ndarray
    for base in bases:
        if base in WRITERS:
            return WRITERS[base]
        if base in ENCODERS and cls not in NOT_THEIR_BASE:
            return _subclass_writer(ENCODERS[base])
    return Encoder.write_record if is_record(cls) else _refuse


def _subclass_writer(encode: Callable[[Any], bytes]) -> Writer:
    def write(encoder: Encoder, value: object) -> None:
        encoder.write_subclass(value, encode)

    return write


def _refuse(_: Encoder, value: object) -> None:
    raise Refused(type(value).__name__)


def _in_pieces(parts: Sequence[bytes | memoryview]) -> Body:
    pieces: list[bytes] = []
    run: list[bytes | memoryview] = []
    for part in parts:
        if type(part) is bytes and len(part) >= KEPT:
            pieces += (b"".join(run), part)
            run.clear()
        else:
            run.append(part)
    pieces.append(b"".join(run))
    return Pieces([piece for piece in pieces if piece]) if len(pieces) > 1 else pieces[0]
