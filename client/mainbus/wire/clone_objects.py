"""What the encoder looks at inside an object, where the application's own code may have a say: it ends in `Refused`.

The encoder imports it, and the context bridge, which walks through the same objects.
"""

import dataclasses
from collections.abc import Callable
from enum import Enum
from typing import Any, Final

import msgspec

from mainbus.errors import MainbusError
from mainbus.wire.clone_scalars import Refused

__all__ = ["guarded", "is_ours", "is_record", "record", "value_of", "view_of_bytes"]

MAX_ENUMS: Final = 16
"""Enum members whose value is an enum member."""

OUR_PACKAGES: Final = frozenset({"mainbus", "mainbus_broker"})


def is_record(cls: type) -> bool:
    """Tell whether this is a dataclass or Struct, but none of mainbus' own."""
    return not is_ours(cls) and (msgspec.Struct in cls.__mro__ or dataclasses.is_dataclass(cls))


def is_ours(cls: type) -> bool:
    """Tell whether this is a class of mainbus', or derived from one."""
    return any(base.__module__.partition(".")[0] in OUR_PACKAGES for base in cls.__mro__)


def record(value: Any) -> list[tuple[str, object]]:
    """Return the fields of a dataclass's or Struct's instance, by name."""
    cls = type(value)
    is_struct = msgspec.Struct in cls.__mro__
    names = cls.__struct_fields__ if is_struct else [field.name for field in dataclasses.fields(cls)]
    return [(name, _attribute(value, name)) for name in names]


def _attribute(value: object, name: str) -> object:
    try:
        return getattr(value, name)
    except Exception as error:
        # A field may be unset, or a property of the application's.
        raise Refused(f"{type(value).__name__} whose {name} raised {type(error).__name__}") from error


def guarded(encode: Callable[[Any], bytes], value: object) -> bytes:
    """Encode an instance of a subclass, which may override what the encoder looks at."""
    try:
        return encode(value)
    except (Refused, MainbusError):
        raise
    except Exception as error:
        raise Refused(f"{type(value).__name__} that raised {type(error).__name__}") from error


def value_of(member: Any) -> Any:
    """Return the value of an enum member."""
    for _ in range(MAX_ENUMS):
        member = member._value_
        if Enum not in type(member).__mro__:
            return member
    raise Refused(f"{type(member).__name__} in itself")


def view_of_bytes(value: memoryview) -> memoryview:
    """Return the view if its items are bytes."""
    try:
        kind = value.format if value.ndim == 1 else f"{value.ndim} dimensions"
    except ValueError:
        raise Refused("released memoryview") from None
    if kind not in ("B", "b", "c"):
        raise Refused(f"memoryview of {kind!r}")
    return value if value.contiguous else memoryview(value.tobytes())
