"""What the commands print: values as JSON, also those that JSON has no type for, and lines for people."""

from __future__ import annotations

import array
import base64
import json
import math
import sys
from datetime import date
from typing import Any, Final

from mainbus.wire.regexp import RegExp

from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.logs import visible

_MOST: Final = 1_000_000
"""Values that are printed at most: shared references make few bytes many."""

_LONG_INT: Final = 10_000
"""Bits from which on Python refuses to write an int in decimal, roughly: it takes for ever."""

_CYCLE: Final = "<cycle>"


def as_json(value: object, *, compact: bool) -> str:
    """Return a value as JSON.

    Bytes are base64, sets are lists, dates are ISO 8601, a typed array is a list, other types their text; NaN, the
    infinities and very long ints are strings, and so are keys; a container inside itself is "<cycle>".

    Args:
        value: What structured clone carries.
        compact: One line of ASCII for programs, not indented text for people.

    Raises:
        Failure: There is too much of it.
    """
    try:
        plain = _Plain().of(value)
        if compact:
            return json.dumps(plain, separators=(",", ":"))
        # The text of JSON is a document of its own: only its escapes may stand for what a terminal would act upon.
        return visible(json.dumps(plain, ensure_ascii=False, indent=2), keep="\n")
    except RecursionError:
        raise Failure("the value is nested too deeply to be printed", ExitCode.FAILED) from None


def as_line(value: object) -> str:
    """Return a value as JSON on one line, for people."""
    return visible(json.dumps(_Plain().of(value), ensure_ascii=False))


def say(text: str) -> None:
    """Print a line for people on standard error, in one piece."""
    print(f"mainbus: {visible(text)}", file=sys.stderr, flush=True)  # noqa: T201 - the one place


def show(text: str) -> None:
    """Print a result on standard output, at once."""
    print(text, flush=True)  # noqa: T201 - the one place


class _Plain:
    """Turns what structured clone carries into what JSON has."""

    def __init__(self) -> None:
        self._left = _MOST
        self._inside: set[int] = set()

    def of(self, value: Any) -> Any:
        # One frame a level: as deep as messages may be nested, the interpreter's own limit is not far.
        self._left -= 1
        if self._left < 0:
            raise Failure(f"more than {_MOST} values are too many to be printed", ExitCode.FAILED)
        if not isinstance(value, dict | list | tuple | set | frozenset):
            return self._scalar(value)
        if id(value) in self._inside:
            return _CYCLE
        self._inside.add(id(value))
        result: Any = {} if isinstance(value, dict) else []
        if isinstance(value, dict):
            for key, item in value.items():
                result[self._key(key)] = self.of(item)
        else:
            for item in value:
                result.append(self.of(item))
        self._inside.discard(id(value))
        return result

    def _key(self, key: object) -> str:
        return key if isinstance(key, str) else json.dumps(self.of(key), ensure_ascii=False)

    def _scalar(self, value: Any) -> Any:
        if isinstance(value, int) and value.bit_length() > _LONG_INT:
            return hex(value)
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)
        if isinstance(value, bytes):
            return base64.b64encode(value).decode()
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, RegExp):
            return f"/{value.source}/{value.flags}"
        if isinstance(value, BaseException):
            return f"{type(value).__name__}: {value}"
        if isinstance(value, array.array) or hasattr(value, "tolist"):
            return self.of(value.tolist())
        return str(value)
