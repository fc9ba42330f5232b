"""Copy values from one world of the context bridge to the other: structured clone, but with functions among them.

The walk keeps no stack: each container is made empty, put where it belongs, and filled later. So cycles need no care,
and no nesting overflows anything.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from functools import partial
from types import NoneType, SimpleNamespace
from typing import Any, Final

from mainbus.errors import CloneError, LimitExceeded, MainbusError
from mainbus.frozen import FrozenDict, FrozenList
from mainbus.registration import Registration
from mainbus.wire import clone
from mainbus.wire.clone_objects import is_record, record, value_of
from mainbus.wire.clone_scalars import Refused

__all__ = ["MAX_DEPTH", "Crossing"]

MAX_DEPTH: Final = 1_000
"""Containers inside containers, as in Electron."""

TOO_DEEP: Final = "Electron contextBridge recursion depth exceeded.  Nested objects deeper than 1000 are not supported."

MAX_COPIES: Final = 1 << 20
"""Items of tuples that are copied once more: wherever they occur, which could double the value with every level."""

# They cannot be changed, and structured clone refuses none of them.
PLAIN: Final = frozenset({NoneType, bool, int, float, bytes})

Wrap = Callable[[Any], object]
Pairs = Sequence[tuple[Any, Any]]


class _Container:
    """A container whose items have yet to be copied; ``parent`` and ``label`` say where it was found."""

    __slots__ = ("depth", "items", "label", "parent", "put")

    def __init__(
        self,
        parent: "_Container | None",
        label: Any,
        items: Iterable[tuple[Any, Any]],
        put: Callable[[Any, Any], object],
    ) -> None:
        self.parent = parent
        self.label = label
        self.items = items
        self.put = put
        self.depth: int = 0 if parent is None else parent.depth + 1


class Crossing:
    """One passage: what its values share, they share on the other side too, and cycles stay cycles.

    Args:
        wrap: returns what stands on the other side for a function or the like, or None if it is nothing of the kind.
        frozen: whether the copies are read-only.
    """

    __slots__ = ("_alive", "_at", "_copies", "_copy_count", "_frozen", "_waiting", "_wrap")

    def __init__(self, wrap: Wrap, *, frozen: bool = False) -> None:
        self._wrap = wrap
        self._frozen = frozen
        # By id: what a container became; for a tuple, which is copied each time, None. The originals are kept alive,
        # so that no other object gets the id.
        self._copies: dict[int, Any] = {}
        self._alive: list[object] = []
        self._copy_count = 0
        self._waiting: list[_Container] = []
        # The item that is being copied, for the path in an error: its container, and its label there.
        self._at: tuple[_Container, Any] | None = None

    def values(self, named: Pairs) -> list[Any]:
        """Copy values that belong together.

        Args:
            named: each with what it is called in error texts.

        Returns:
            The copies.

        Raises:
            CloneError: something in them can be neither cloned nor wrapped; the text says where and what.
            LimitExceeded: nested too deeply, or over another bound.
        """
        copies: list[Any] = []
        self._waiting.append(_Container(None, "", named, lambda _, value: copies.append(value)))
        try:
            while self._waiting:
                self._fill(self._waiting.pop())
            return copies
        except CloneError as error:
            below, reason = error.path, error.reason
        except Refused as refused:
            below, reason = "", str(refused)
        except MainbusError:
            raise
        except Exception as error:  # noqa: BLE001
            # The application's own properties, hashes and types have a say in what is looked at.
            below, reason = "", f"object that raised {type(error).__name__}"
        # Out here, for its context would carry the objects of one world into the other.
        raise CloneError(f"{self._path()}{below}", f"{reason}")

    def _path(self) -> str:
        assert self._at is not None
        container, label = self._at
        steps: list[str] = []
        while container.parent is not None:
            steps.append(_step(label))
            container, label = container.parent, container.label
        return "".join((label, *reversed(steps)))

    def _fill(self, container: _Container) -> None:
        put = container.put
        for label, item in container.items:
            self._at = (container, label)
            put(label, self._copy(item))

    def _copy(self, item: Any) -> Any:
        cls = type(item)
        if cls in PLAIN or (cls is str and item.isascii()):
            return item
        known = self._copies.get(id(item))
        if known is not None:
            return known
        bases = cls.__mro__
        if Enum in bases:
            return self._copy(value_of(item))
        for base in bases:
            if base in COPIERS:
                return COPIERS[base](self, item)
        return self._copy_record(item) if is_record(cls) else self._copy_leaf(item)

    # Copiers, one for each type; they know only that the item is of the type or of a subclass

    def _copy_list(self, item: list[Any]) -> object:
        return self._remember(item, self._open_list(list.copy(item)))

    def _copy_tuple(self, item: tuple[Any, ...]) -> object:
        items = list(tuple.__iter__(item))
        self._count_copy(item, len(items))
        return self._open_list(items)

    def _copy_dict(self, item: dict[Any, Any]) -> object:
        return self._remember(item, self._open_dict(list(dict.items(item))))

    def _copy_ordered_dict(self, item: "OrderedDict[Any, Any]") -> object:
        return self._remember(item, self._open_dict(list(OrderedDict.items(item))))

    def _copy_set(self, item: set[Any]) -> object:
        return self._remember(item, self._cloned_set(item))

    def _copy_frozenset(self, item: frozenset[Any]) -> object:
        self._count_copy(item, frozenset.__len__(item))
        return self._cloned_set(item)

    def _copy_namespace(self, item: SimpleNamespace) -> object:
        return self._remember(item, self._open_namespace(list(vars(item).items())))

    def _copy_registration(self, item: Registration) -> object:
        # What ipc_renderer.on returns, and with it many a function that subscribes.
        return self._remember(item, self._open_namespace([("cancel", item.cancel)]))

    def _copy_record(self, item: object) -> object:
        return self._remember(item, self._open_dict(record(item)))

    def _copy_leaf(self, item: Any) -> object:
        wrapped = self._wrap(item)
        if wrapped is not None:
            return self._remember(item, wrapped)
        copy = clone.decode(clone.encode(item, root=""))
        # NumPy's arrays can be frozen; ``array.array`` cannot.
        if self._frozen and (setflags := getattr(copy, "setflags", None)) is not None:
            setflags(write=False)
        return copy

    # Parts of them

    def _remember(self, item: object, copy: object) -> object:
        self._copies[id(item)] = copy
        self._alive.append(item)
        return copy

    def _count_copy(self, item: object, size: int) -> None:
        if id(item) not in self._copies:
            self._remember(item, None)
            return
        self._copy_count += 1 + size
        if self._copy_count > MAX_COPIES:
            raise LimitExceeded("The number of items in copies of a tuple", MAX_COPIES)

    def _check_depth(self) -> _Container:
        assert self._at is not None
        above, _ = self._at
        if above.depth >= MAX_DEPTH:
            raise LimitExceeded(TOO_DEEP)
        return above

    def _open(self, items: Iterable[tuple[Any, Any]], put: Callable[[Any, Any], object]) -> None:
        above = self._check_depth()
        assert self._at is not None
        self._waiting.append(_Container(above, self._at[1], items, put))

    def _open_list(self, items: list[Any]) -> list[Any]:
        copy: list[Any] = FrozenList() if self._frozen else []
        self._open(enumerate(items), lambda _, value: list.append(copy, value))
        return copy

    def _open_dict(self, pairs: Pairs) -> dict[Any, Any]:
        copy: dict[Any, Any] = FrozenDict() if self._frozen else {}
        self._open(_with_cloned_keys(pairs), partial(dict.__setitem__, copy))
        return copy

    def _open_namespace(self, pairs: Pairs) -> object:
        if self._frozen:
            return self._open_dict(pairs)
        copy = SimpleNamespace()
        self._open(_with_cloned_keys(pairs), partial(dict.__setitem__, vars(copy)))
        return copy

    def _cloned_set(self, item: set[Any] | frozenset[Any]) -> object:
        self._check_depth()
        copy: Any = clone.decode(clone.encode(item, root=""))
        return frozenset(copy) if self._frozen else copy


Copier = Callable[[Crossing, Any], object]

COPIERS: Final[dict[type, Copier]] = {
    list: Crossing._copy_list,
    tuple: Crossing._copy_tuple,
    dict: Crossing._copy_dict,
    OrderedDict: Crossing._copy_ordered_dict,
    set: Crossing._copy_set,
    frozenset: Crossing._copy_frozenset,
    SimpleNamespace: Crossing._copy_namespace,
    Registration: Crossing._copy_registration,
}


def _with_cloned_keys(pairs: Pairs) -> Pairs:
    if all(type(key) is str and key.isascii() for key, _ in pairs):
        return pairs
    keys: Any = clone.decode(clone.encode({key: None for key, _ in pairs}, root=""))
    return list(zip(keys, [item for _, item in pairs], strict=True))


def _step(key: object) -> str:
    if type(key) is str and key.isidentifier():
        return f".{key}"
    try:
        text = repr(key)
    except Exception:  # noqa: BLE001
        # An int may be too long to be shown; the path needs only something that helps.
        text = type(key).__name__
    return f"[{text if len(text) <= 60 else f'{text[:57]}...'}]"
