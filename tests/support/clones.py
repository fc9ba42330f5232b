"""What the tests of structured clone share: the codecs under test, values of all kinds, and a comparison of graphs.

A codec that is to agree with the others becomes one more entry of CODECS.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
from mainbus.wire import clone
from mainbus.wire.clone_decode import Decoder
from mainbus.wire.clone_encode import Encoder
from mainbus.wire.regexp import RegExp


@dataclass(frozen=True, slots=True)
class Codec:
    """One implementation: its name, and the two functions of `mainbus.wire.clone`."""

    name: str
    encode: Callable[..., bytes]
    decode: Callable[..., Any]

    def clone(self, value: object) -> Any:
        return self.decode(self.encode(value))


def _walk_encode(value: object, *, root: str = "args", max_depth: int = 512) -> bytes:
    return Encoder(root, max_depth).encode(value)


def _walk_decode(data: bytes | memoryview, *, max_depth: int = 512) -> object:
    return Decoder(data, max_depth).decode()


CODECS = [Codec("clone", clone.encode, clone.decode), Codec("walk", _walk_encode, _walk_decode)]

# Bytes, by hand


SHARED: list[object] = [1]
COMMON: list[Any] = [
    None,
    {"path": "a/b", "n": 42, "tags": ["a", "b"]},
    [1.5, True, b"bytes"],
    2**70,
    datetime(2020, 1, 1, tzinfo=UTC),
    {"a": SHARED, "b": SHARED},
    {1, 2},
    "ü" * 300,
]
"""What messages are about: some that take a compiled way, and some that take the one which takes everything."""


def head(major: int, argument: int) -> bytes:
    """Write the head of an item, always in nine bytes: readers take every length."""
    return bytes((major << 5 | 27,)) + argument.to_bytes(8, "big")


def wire_set(members: list[bytes]) -> bytes:
    return head(6, 258) + head(4, len(members)) + b"".join(members)


def wire_dict(keys: list[bytes]) -> bytes:
    return head(5, len(keys)) + b"".join(key + b"\xf6" for key in keys)


# Values

FLAGS = st.sets(st.sampled_from("dgimsuvy")).map("".join)
ZONES = st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone)
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=-(2**200), max_value=2**200),
    st.floats(),
    st.text(max_size=30),
    st.binary(max_size=30),
    st.datetimes(timezones=ZONES),
    st.dates(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.ip_addresses(),
    st.builds(RegExp, st.text(max_size=10), FLAGS),
)


def _has_hash(value: object) -> bool:
    return not (isinstance(value, Decimal) and value.is_snan())


# In UTC: two times of different zones can be the same, and one key.
HASHABLE_SCALARS = SCALARS.filter(_has_hash).map(
    lambda value: value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
)
KEYS = st.recursive(
    HASHABLE_SCALARS,
    lambda keys: st.one_of(st.lists(keys, max_size=3).map(tuple), st.frozensets(keys, max_size=3)),
    max_leaves=6,
)
TREES = st.recursive(
    st.one_of(SCALARS, st.sets(KEYS, max_size=4)),
    lambda children: st.one_of(st.lists(children, max_size=5), st.dictionaries(KEYS, children, max_size=5)),
    max_leaves=25,
)
"""Values that arrive as they are, nothing shared."""


@st.composite
def graphs(draw: st.DrawFn) -> list[Any]:
    """Lists, dicts and sets that hold each other in any way, cycles included."""
    kinds = draw(st.lists(st.sampled_from([list, dict, set]), min_size=1, max_size=7))
    nodes: list[Any] = [kind() for kind in kinds]
    item = st.one_of(st.sampled_from(range(len(nodes))).map(lambda index: nodes[index]), st.integers(0, 3), st.text())
    for node in nodes:
        if isinstance(node, list):
            node += draw(st.lists(item, max_size=4))
        elif isinstance(node, dict):
            for key in draw(st.lists(st.text(max_size=3), max_size=4)):
                node[key] = draw(item)
        else:
            node |= draw(st.sets(st.integers(0, 9), max_size=3))
    return draw(st.lists(item, max_size=4)) + nodes[:1]


# Comparing


def token(value: Any) -> object:
    """Make of a value without identity what is equal for equal values of equal types: NaN is, 1 and True are not."""
    match value:
        case tuple():
            return ("tuple", *map(token, value))
        case frozenset():
            return ("frozenset", *sorted(map(repr, map(token, value))))
        case float():
            return "float", repr(value)
        case datetime():
            return "datetime", value.isoformat()
        case _:
            return type(value).__name__, repr(value)


def same(left: Any, right: Any) -> bool:
    """Tell whether two values are equal to the last type, with the same objects in the same places."""
    partners: dict[int, int] = {}
    waiting = [(left, right)]
    while waiting:
        one, other = waiting.pop()
        if type(one) is not type(other):
            return False
        if not isinstance(one, list | dict | set):
            if token(one) != token(other):
                return False
            continue
        if id(one) in partners or id(other) in partners.values():
            if partners.get(id(one)) != id(other):
                return False
            continue
        partners[id(one)] = id(other)
        if len(one) != len(other):
            return False
        if isinstance(one, set):
            waiting.append((frozenset(one), frozenset(other)))
        elif isinstance(one, list):
            waiting += zip(one, other, strict=True)
        else:
            waiting += zip(map(token, one), map(token, other), strict=True)
            waiting += zip(one.values(), other.values(), strict=True)
    return True


def parse_tables(page: str) -> dict[str, list[list[str]]]:
    """Read a page's Markdown tables: the title of the first column -> rows of cells."""
    tables: dict[str, list[list[str]]] = {}
    rows: list[list[str]] | None = None
    for line in page.splitlines():
        if not line.startswith("|"):
            rows = None
            continue
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if rows is None:
            rows = tables[cells[0]] = []
        elif not re.fullmatch(r"-+", cells[0]):
            rows.append(cells)
    return tables
