"""Decoding: one walk over the bytes that builds what they say, and trusts none of it.

It keeps a stack of its own instead of recursing, so that no nesting overflows another one. Only ``clone`` and the
encoder import it.
"""

from typing import Any, Final

from mainbus.errors import BadMessage, LimitExceeded, MainbusError
from mainbus.remote import rebuild
from mainbus.wire import clone_arrays, clone_scalars
from mainbus.wire import clone_cbor as cbor
from mainbus.wire.clone_cbor import Cursor
from mainbus.wire.clone_keys import Keys, Work, weigh

__all__ = ["Decoder", "TooManyItems"]

ERROR_NAME: Final = "Error"
"""The type that tag 27 names for an exception."""

SIMPLE: Final = {cbor.FALSE: False, cbor.TRUE: True, cbor.NULL: None, cbor.UNDEFINED: None}
FLOATS: Final = (cbor.HALF, cbor.SINGLE, cbor.DOUBLE)
# What reading an item gives when it is a container: a frame on the stack.
OPENED: Final = object()


class TooManyItems(Exception):
    """There are more items than the caller wanted to have read this way."""


class Frame:
    """A container that is being filled: ``left`` items are missing, each a key if ``wants_key``."""

    __slots__ = ("left", "wants_key", "weight")

    levels = 1

    def __init__(self, left: int, wants_key: bool) -> None:
        self.left = left
        self.wants_key = wants_key
        self.weight = 1

    def add(self, value: Any, weight: int) -> None:
        """Take the next item; the weight is that of comparing it, where it is a key."""
        raise NotImplementedError

    def close(self) -> Any:
        """Return the container, which is complete."""
        raise NotImplementedError


class ListFrame(Frame):
    """An array that becomes a list."""

    __slots__ = ("items",)

    def __init__(self, left: int) -> None:
        super().__init__(left, False)
        self.items: list[object] = []

    def add(self, value: object, weight: int) -> None:
        """Append."""
        self.items.append(value)

    def close(self) -> list[object]:
        """Return the list."""
        return self.items


class TupleFrame(Frame):
    """An array that is a key, or part of one."""

    __slots__ = ("items",)

    def __init__(self, left: int) -> None:
        super().__init__(left, True)
        self.items: list[object] = []

    def add(self, value: object, weight: int) -> None:
        """Append; comparing the tuple compares its items."""
        self.items.append(value)
        self.weight += weight

    def close(self) -> tuple[object, ...]:
        """Return the tuple."""
        return tuple(self.items)


class DictFrame(Frame):
    """A map."""

    __slots__ = ("_key", "_keys", "items")

    def __init__(self, pairs: int, work: Work) -> None:
        super().__init__(2 * pairs, True)
        self.items: dict[Any, object] = {}
        self._key: Any = None
        self._keys = Keys(work)

    def add(self, value: Any, weight: int) -> None:
        """Take a key, or the value that belongs to it."""
        if self.wants_key:
            self._keys.admit(value, weight)
            self._key = value
        else:
            before = len(self.items)
            self.items[self._key] = value
            if len(self.items) == before:
                raise BadMessage("A dict has the same key twice")
        self.wants_key = not self.wants_key

    def close(self) -> dict[Any, object]:
        """Return the dict."""
        return self.items


class SetFrame(Frame):
    """A set; ``frozen`` if it is a key, or part of one."""

    __slots__ = ("_frozen", "_keys", "items")

    def __init__(self, left: int, work: Work, frozen: bool) -> None:
        super().__init__(left, True)
        self.items: set[Any] = set()
        self._keys = Keys(work)
        self._frozen = frozen

    def add(self, value: Any, weight: int) -> None:
        """Take a member."""
        self._keys.admit(value, weight)
        before = len(self.items)
        self.items.add(value)
        if len(self.items) == before:
            raise BadMessage("A set has the same member twice")
        self.weight += weight

    def close(self) -> set[Any] | frozenset[Any]:
        """Return the set; to compare it with an equal one repeats what building it took."""
        self.weight += self._keys.spent
        return frozenset(self.items) if self._frozen else self.items


class ErrorFrame(Frame):
    """What describes an exception: one map."""

    __slots__ = ("description",)

    levels = 0

    def __init__(self) -> None:
        super().__init__(1, False)
        self.description: object = None

    def add(self, value: object, weight: int) -> None:
        """Take the description."""
        self.description = value

    def close(self) -> BaseException:
        """Return the exception."""
        try:
            return rebuild(self.description)
        except (MainbusError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001
            # Constructors of built-in classes run here, on what the message says.
            raise BadMessage(f"No exception can be made of its description: {type(error).__name__}") from None


class Decoder:
    """Decodes one value.

    Args:
        data: the whole of it, or a cursor that reads it.
        max_depth: how deep containers may be nested.
        max_items: give up with `TooManyItems` after this many.
        work: what other parts of the same message have left to be spent on keys.
    """

    __slots__ = ("_cursor", "_depth", "_items_left", "_max_depth", "_shared", "_stack", "_work")

    def __init__(
        self,
        data: bytes | memoryview | Cursor,
        max_depth: int,
        *,
        max_items: int | None = None,
        work: Work | None = None,
    ) -> None:
        self._cursor = data if isinstance(data, Cursor) else Cursor(data)
        self._max_depth = max_depth
        self._depth = 0
        self._items_left = -1 if max_items is None else max_items
        self._shared: list[object] = []
        self._stack: list[Frame] = []
        self._work = Work() if work is None else work

    def decode(self) -> object:
        """Return the value.

        Raises:
            BadMessage: the bytes are no structured clone, or more than one.
            LimitExceeded: over a bound.
            TooManyItems: more than ``max_items``.
        """
        try:
            value = self._run()
        except RecursionError:
            # Hashing and comparing nested keys does recurse, on top of whatever the caller's stack holds.
            raise LimitExceeded("A key is nested too deeply for what is left of the stack") from None
        if self._cursor.at != self._cursor.end:
            raise BadMessage("There are bytes after the end of the message")
        return value

    def _run(self) -> object:
        stack, cursor = self._stack, self._cursor
        while True:
            keys = bool(stack) and stack[-1].wants_key
            start = cursor.at
            value = self._read(keys)
            weight = weigh(value, cursor.at - start) if keys else 1
            while stack:
                frame = stack[-1]
                if value is not OPENED:
                    frame.add(value, weight)
                    frame.left -= 1
                if frame.left:
                    break
                stack.pop()
                self._depth -= frame.levels
                value, weight = frame.close(), frame.weight
            else:
                return value

    def _read(self, keys: bool) -> Any:
        self._items_left -= 1
        if self._items_left == -1:
            raise TooManyItems
        cursor = self._cursor
        first, argument = cursor.head()
        major = first >> 5
        if major == cbor.TEXT:
            return cbor.text_of(cursor.take(argument))
        if major == cbor.UNSIGNED:
            return argument
        if major == cbor.NEGATIVE:
            return ~argument
        if major == cbor.BYTES:
            return bytes(cursor.take(argument))
        if major == cbor.TAG:
            return self._tagged(argument, keys)
        if major in (cbor.ARRAY, cbor.MAP):
            self._open(major, argument, keys)
            return OPENED
        return _simple(first, argument)

    def _tagged(self, tag: int, keys: bool) -> Any:
        read = clone_scalars.DECODERS.get(tag)
        if read is not None:
            return read(self._cursor)
        if tag == cbor.SET:
            self._open(cbor.SET, self._cursor.sized(cbor.ARRAY), keys)
            return OPENED
        if keys:
            raise BadMessage("A key is of a type that has no hash")
        if tag == cbor.REFERENCE:
            return self._reference()
        if tag in (cbor.SHAREABLE, cbor.ERROR):
            self._shareable() if tag == cbor.SHAREABLE else self._error()
            return OPENED
        read = clone_arrays.DECODERS.get(tag)
        if read is None:
            raise BadMessage(f"Tag {tag} is not part of structured clone")
        return read(self._cursor)

    def _open(self, kind: int, count: int, keys: bool) -> None:
        if kind == cbor.MAP and keys:
            raise BadMessage("A key is of a type that has no hash")
        if self._depth >= self._max_depth:
            raise LimitExceeded("The nesting depth", self._max_depth)
        self._depth += 1
        frame: Frame
        if kind == cbor.MAP:
            frame = DictFrame(count, self._work)
        elif kind == cbor.SET:
            frame = SetFrame(count, self._work, keys)
        else:
            frame = TupleFrame(count) if keys else ListFrame(count)
        self._stack.append(frame)

    def _shareable(self) -> None:
        cursor = self._cursor
        first, argument = cursor.head()
        major = first >> 5
        if major in (cbor.ARRAY, cbor.MAP):
            self._open(major, argument, False)
        elif major == cbor.TAG and argument == cbor.SET:
            self._open(cbor.SET, cursor.sized(cbor.ARRAY), False)
        else:
            raise BadMessage("Only lists, dicts and sets can be shared")
        frame = self._stack[-1]
        assert isinstance(frame, ListFrame | DictFrame | SetFrame)
        # Before its items are read: they may refer to it.
        self._shared.append(frame.items)

    def _reference(self) -> object:
        first, index = self._cursor.head()
        if first >> 5 != cbor.UNSIGNED or index >= len(self._shared):
            raise BadMessage("A reference leads nowhere")
        return self._shared[index]

    def _error(self) -> None:
        cursor = self._cursor
        cursor.array(2)
        if cursor.text() != ERROR_NAME:
            raise BadMessage("An object of an unknown type")
        self._stack.append(ErrorFrame())
        first, pairs = cursor.head()
        # Nothing but a map, so that errors within errors are as deep as their maps.
        if first >> 5 != cbor.MAP:
            raise BadMessage("The content of a tag is of the wrong type")
        self._open(cbor.MAP, pairs, False)


def _simple(first: int, argument: int) -> bool | float | None:
    if first in SIMPLE:
        return SIMPLE[first]
    if first in FLOATS:
        return cbor.float_of(first, argument)
    raise BadMessage("A simple value is not part of structured clone")
