"""Describe an exception in plain values; dispatch and the codec call it, ``mainbus.remote`` is the way back.

A description is a dict of ``name`` and ``message``, and where there is something to say ``code``, ``data``, ``cause``
(a description), ``notes``, ``traceback``, ``os`` and ``args``.
"""

import traceback as tracebacks
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Final, TypeVar
from uuid import UUID

from mainbus.errors import BUILT_IN, MainbusError, RemoteError, by_code

__all__ = ["MAX_CAUSES", "OS_FIELDS", "describe", "owners"]

MAX_CAUSES: Final = 16
MAX_TEXT: Final = 65_536  # bytes of UTF-8
MAX_NOTE: Final = 4_096  # bytes of UTF-8
MAX_NOTES: Final = 16

# Copied as they are, of exactly these types: a subclass may hold anything.
SCALARS: Final = frozenset({type(None), bool, int, float, date, Decimal, UUID})

owners: Final[dict[str, type[Exception]]] = {**BUILT_IN, **{cls.__name__: cls for cls in by_code.values()}}
"""Whose a name in a description is; another class of that name is described with its module's name before it."""

OS_FIELDS: Final[dict[str, Callable[[object], bool]]] = {
    "errno": lambda value: type(value) is int and abs(value) < 2**31,  # a C int
    "strerror": lambda value: isinstance(value, str),
    "filename": lambda value: isinstance(value, str | bytes) or type(value) is int,
}
"""What of an OSError crosses, and which values it may have."""

T = TypeVar("T")


def describe(exc: BaseException, *, traceback: bool = False) -> dict[str, object]:
    """Describe an exception in values that structured clone carries.

    Never raises an Exception, whatever the exception at hand does when it is looked at: what cannot be read, is not
    plain or is too large is left out, long texts are cut.

    Args:
        exc: any exception.
        traceback: add the formatted traceback.

    Returns:
        The description, a fresh dict.
    """
    description = _describe(exc, frozenset())
    if traceback and (text := _try(_traceback, exc)) is not None:
        description["traceback"] = text
    return description


def _describe(exc: BaseException, above: frozenset[int]) -> dict[str, object]:
    name, message = _say(exc)
    description: dict[str, object] = {"name": name, "message": message}
    for key, read in _READERS.items():
        if (value := _try(read, exc)) is not None:
            description[key] = value
    cause = _try(_cause, exc)
    above |= {id(exc)}
    if cause is not None and id(cause) not in above and len(above) <= MAX_CAUSES:
        description["cause"] = _describe(cause, above)
    return description


def _try(read: Callable[[BaseException], T], exc: BaseException) -> T | None:
    try:
        return read(exc)
    except Exception:  # noqa: BLE001
        # The application's own properties run here. The exception being told is worth more than a second one.
        return None


def _say(exc: BaseException) -> tuple[str, str]:
    if (said := _try(_passed_on, exc)) is not None:
        return said
    message = _try(_message, exc)
    return _try(_name, exc) or "Exception", "<exception str() failed>" if message is None else message


def _passed_on(exc: BaseException) -> tuple[str, str] | None:
    """Name and message of the original, for a remote error that came as a value."""
    return (exc.type_name, exc.remote_message) if isinstance(exc, RemoteError) and exc.channel is None else None


def _name(exc: BaseException) -> str:
    cls = type(exc)
    if issubclass(cls, MainbusError):
        # Those that remote.py mixes are called by their first base.
        cls = next(base for base in cls.__mro__ if owners.get(base.__name__) is base)
    name = cls.__name__
    return _text(name if owners.get(name, cls) is cls else f"{cls.__module__}.{name}")


def _message(exc: BaseException) -> str:
    return _text(str(exc))


def _traceback(exc: BaseException) -> str:
    return _text("".join(tracebacks.format_exception(exc)))


def _cause(exc: BaseException) -> BaseException | None:
    return exc.__cause__ if isinstance(exc.__cause__, BaseException) else None


def _code(exc: BaseException) -> object:
    return _Copier().copy(getattr(exc, "code", None))


def _data(exc: BaseException) -> object:
    return _Copier().copy(getattr(exc, "data", None))


def _notes(exc: BaseException) -> list[str] | None:
    notes = [_text(note, MAX_NOTE) for note in getattr(exc, "__notes__", ()) if isinstance(note, str)]
    if isinstance(exc, BaseExceptionGroup):
        # Its message only counts them.
        notes += [_text(": ".join(_say(leaf)), MAX_NOTE) for leaf in islice(_leaves(exc), MAX_NOTES)]
    return notes[:MAX_NOTES] or None


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    # Without recursion: how deep it is, is the application's doing.
    waiting: list[BaseException] = [group]
    while waiting:
        if isinstance(exc := waiting.pop(), BaseExceptionGroup):
            waiting += reversed(exc.exceptions)
        else:
            yield exc


def _os(exc: BaseException) -> dict[str, object] | None:
    if not isinstance(exc, OSError):
        return None
    # Not by the module os: the wire core imports this one.
    fspath = getattr(exc.filename, "__fspath__", None)
    filename = exc.filename if fspath is None else fspath()
    copy = _Copier().copy
    fields = {"errno": copy(exc.errno), "strerror": copy(exc.strerror), "filename": copy(filename)}
    return {key: value for key, value in fields.items() if OS_FIELDS[key](value)} or None


def _args(exc: BaseException) -> object:
    """The constructor's arguments where they say more than the message: of a built-in class."""
    if BUILT_IN.get(type(exc).__name__) is not type(exc) or isinstance(exc, OSError) or exc.args == (_message(exc),):
        return None
    args = exc.args
    if isinstance(exc, UnicodeDecodeError | UnicodeEncodeError | UnicodeTranslateError):
        # One character for one: start and end count them.
        args = tuple(arg.encode(errors="replace").decode() if isinstance(arg, str) else arg for arg in args)
    return _Copier().copy(args)


_READERS: Final[dict[str, Callable[[BaseException], object]]] = {
    "code": _code,
    "data": _data,
    "notes": _notes,
    "os": _os,
    "args": _args,
}


def _text(text: str, limit: int = MAX_TEXT) -> str:
    """An exact str without lone surrogates, at most ``limit`` bytes long."""
    encoded = str.encode(str.__getitem__(text, slice(limit + 1)), errors="backslashreplace")
    return encoded.decode() if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "..."


class _Copier:
    """Copies one plain value, charging it against a budget; raises for anything else."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_TEXT  # bytes, roughly

    def copy(self, value: object, depth: int = 0) -> object:
        self.charge(8)
        match value:
            case Enum():
                return self.copy(value.value, depth)
            case str() | bytes() | bytearray():
                self.charge(len(value))
                return _text(value, 8 * MAX_TEXT) if isinstance(value, str) else bytes(value)
            case list() | tuple() | dict() if depth >= MAX_CAUSES:
                raise ValueError("too deep")
            case list() | tuple():
                return [self.copy(item, depth + 1) for item in value]
            case dict():
                return {self.copy(key, depth + 1): self.copy(item, depth + 1) for key, item in value.items()}
            case datetime() if type(value) is datetime and (offset := value.utcoffset()) is not None:
                return value.replace(tzinfo=timezone(offset))
            case _ if type(value) in SCALARS:
                self.charge(value.__sizeof__())
                return value
        raise TypeError(f"not plain: {type(value)!r}")

    def charge(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise ValueError("too large")
