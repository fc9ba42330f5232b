"""The codec of peers that carry bytes: CBOR for the dict, nothing for bytes."""

from __future__ import annotations

from typing import Any, Final

from cbor2 import dumps, loads

_MAP: Final = 5
"""The major type of a dict, in the three high bits of its first byte. A payload begins with a 0."""


def encode(value: Any) -> bytes:
    return value if type(value) is bytes else dumps(value)


def decode(body: bytes) -> Any:
    return loads(body) if body[0] >> 5 == _MAP else body
