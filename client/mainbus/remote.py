"""Make exceptions of the descriptions that arrive, and register the application's own classes for it.

``describe``, the other direction, is to be had from here too.
"""

import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final, TypeVar

from mainbus.describe import MAX_CAUSES, OS_FIELDS, describe, owners
from mainbus.errors import BUILT_IN, BadMessage, MainbusError, RemoteError

__all__ = ["describe", "rebuild", "register_error", "remote_error"]

HEAP_TYPE: Final = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement

CompiledUnicodeError = UnicodeDecodeError | UnicodeEncodeError | UnicodeTranslateError

E = TypeVar("E", bound=Exception)

_registered: dict[str, type[RemoteError]] = {}


def rebuild(description: object) -> BaseException:
    """Make the exception that arrived as a value.

    Args:
        description: decoded, not trusted.

    Returns:
        An instance of the built-in class itself where it is in `BUILT_IN`, else a `RemoteError` without a channel.

    Raises:
        BadMessage: it is no description.
    """
    return _value(_read(description))


def remote_error(channel: str | None, description: object) -> RemoteError:
    """Make the error to raise at the caller of a channel whose handler raised.

    Args:
        channel: the invoked channel.
        description: decoded, not trusted.

    Returns:
        The error; also an instance of the built-in or registered class of that name.

    Raises:
        BadMessage: it is no description.
    """
    return _remote(channel, _read(description))


def register_error(cls: type[E]) -> type[E]:
    """Let errors of this class arrive so that ``except`` with the class catches them; a decorator too.

    Register it on both sides, under one name. What arrives is a `RemoteError` and a ``cls`` at once and was built
    without running the constructor of ``cls``: of its attributes only ``code`` and ``data`` cross.

    Args:
        cls: the application's own subclass of Exception.

    Returns:
        The class.

    Raises:
        TypeError: not a class that can be mixed with `RemoteError`.
        ValueError: the name belongs to a built-in class, to mainbus or to another registered class.
    """
    _check_mixable(cls)
    name = cls.__name__
    owner = owners.get(name, cls)
    # The same place in the source is the same class, reloaded.
    if (owner.__module__, owner.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"The name {name!r} belongs to {owner.__module__}.{owner.__qualname__}")
    _registered[name] = _mixed(cls)
    owners[name] = cls
    return cls


@dataclass(frozen=True, slots=True, kw_only=True)
class _Described:
    """A description that has been checked."""

    name: str
    message: str
    code: object
    data: object
    cause: "_Described | None"
    notes: list[str]
    traceback: str | None
    os: dict[str, object]
    args: list[object] | None


def _read(description: object, depth: int = 0) -> _Described:
    if not isinstance(description, dict) or depth > MAX_CAUSES:
        raise BadMessage("The description of an error is not a dict, or has too many causes")
    get = description.get
    for key, fits in _FITS.items():
        if not fits(get(key)):
            raise BadMessage(f"The description of an error has a wrong or no {key!r}")
    return _Described(
        name=get("name", ""),
        message=get("message", ""),
        code=get("code"),
        data=get("data"),
        cause=None if get("cause") is None else _read(get("cause"), depth + 1),
        notes=get("notes") or [],
        traceback=get("traceback"),
        os=get("os") or {},
        args=get("args"),
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _is_os(value: object) -> bool:
    return value is None or (
        isinstance(value, dict) and all(key in OS_FIELDS and OS_FIELDS[key](item) for key, item in value.items())
    )


_FITS: Final[dict[str, Callable[[object], bool]]] = {
    "name": _is_text,
    "message": _is_text,
    "notes": _is_texts,
    "traceback": lambda value: value is None or isinstance(value, str),
    "os": _is_os,
    "args": lambda value: value is None or isinstance(value, list),
}


def _value(described: _Described) -> BaseException:
    cls = BUILT_IN.get(described.name)
    if cls is None:
        return _remote(None, described)
    error = cls.__new__(cls)
    BaseException.__init__(error, *([described.message] if described.args is None else described.args))
    _fill(error, described)
    for key in ("code", "data"):
        if getattr(described, key) is not None:
            setattr(error, key, getattr(described, key))
    if described.cause is not None:
        error.__cause__ = _value(described.cause)
    for note in described.notes:
        error.add_note(note)
    return error


def _remote(channel: str | None, described: _Described) -> RemoteError:
    error = _bare(_class_for(described.name))
    _fill(error, described)
    RemoteError.__init__(
        error,
        channel,
        described.name,
        described.message,
        code=described.code,
        data=described.data,
        cause=None if described.cause is None else _value(described.cause),
        notes=described.notes,
        remote_traceback=described.traceback,
    )
    return error


def _fill(error: BaseException, described: _Described) -> None:
    """Set the fields that compiled classes keep outside of ``__dict__``."""
    if isinstance(error, OSError):
        # Not by its constructor: that would choose the class by errno, ConnectionResetError for one.
        for key in described.os:
            BaseException.__setattr__(error, key, described.os[key])
        if "errno" in described.os and "strerror" in described.os:
            BaseException.__init__(error, error.errno, error.strerror)
    elif isinstance(error, ImportError):
        ImportError.__init__(error, *error.args or [described.message])
    for cls in (UnicodeDecodeError, UnicodeEncodeError, UnicodeTranslateError):
        if isinstance(error, cls):
            cls.__init__(error, *_unicode_args(cls, described))  # type: ignore[arg-type]


def _unicode_args(cls: type[CompiledUnicodeError], described: _Described) -> list[object]:
    kind = bytes if cls is UnicodeDecodeError else str
    if described.args is None:
        fields: list[object] = [kind(), 0, 0, described.message]
        return fields if cls is UnicodeTranslateError else ["unknown", *fields]
    match described.args:
        case [*encoding, bytes() | str() as text, int(start), int(end), str()]:
            right = len(encoding) == (cls is not UnicodeTranslateError) and all(map(_is_text, encoding))
            # Some versions' __str__ read memory at start without looking.
            if right and isinstance(text, kind) and 0 <= start <= end <= len(text):
                return described.args
    raise BadMessage(f"The description of a {cls.__name__} has wrong arguments")


def _check_mixable(cls: object) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Exception)):
        raise TypeError(f"Expected a subclass of Exception, but found {cls!r}")
    if issubclass(cls, MainbusError | StopIteration | StopAsyncIteration | ExceptionGroup):
        raise TypeError(f"An error of class {cls.__qualname__} cannot be made from a remote one")


def _class_for(name: str) -> type[RemoteError]:
    if name in BUILT_IN:
        return _built_in(name)
    return _registered.get(name, RemoteError)


@cache
def _built_in(name: str) -> type[RemoteError]:
    return _mixed(BUILT_IN[name])


def _mixed(cls: type[Exception]) -> type[RemoteError]:
    """One class that is both. RemoteError has no slots and a plain layout, so any other layout can be the second."""
    name = f"RemoteError[{cls.__name__}]"
    return types.new_class(name, (RemoteError, cls), exec_body=lambda ns: ns.update(__module__="mainbus.errors"))


def _bare(cls: type[RemoteError]) -> RemoteError:
    """An instance that no constructor of the application's has seen."""
    solid: type = cls
    while solid.__flags__ & HEAP_TYPE:
        assert solid.__base__ is not None
        solid = solid.__base__
    # mypy takes solid for type itself, as any class may be.
    error: RemoteError = solid.__new__(cls)  # type: ignore[call-overload]
    return error
