"""What crosses, as what it arrives and how it is written: the tables of the reference page, row by row."""

import collections
import math
import pickle
import re
import subprocess
import sys
from array import array
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Interface, IPv6Address
from pathlib import Path
from typing import Any
from uuid import UUID

import cbor2
import numpy as np
import pytest
from hypothesis import given, settings
from mainbus.wire import clone
from mainbus.wire.clone import BadMessage, CloneError, LimitExceeded, RegExp, decode, encode

from tests.support.clones import CODECS, TREES, Codec, graphs, parse_tables, same

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "structured-clone.md").read_text(encoding="utf-8")
TABLES = parse_tables(PAGE)
NAMES: dict[str, Any] = {
    "__name__": "application",
    **{module.__name__: module for module in (collections, re)},
    **{thing.__name__: thing for thing in (array, date, datetime, timedelta, timezone, Decimal, Fraction, UUID)},
    **{thing.__name__: thing for thing in (IPv4Address, IPv4Interface, IPv6Address, RegExp)},
    "UTC": UTC,
    "np": np,
}


def define_classes() -> None:
    setup = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert setup is not None
    imports = "import msgspec\nfrom dataclasses import dataclass\nfrom enum import Enum, IntEnum\n"
    exec(f"{imports}from typing import NamedTuple\n{setup[1]}", NAMES)


define_classes()


def code(cell: str) -> Any:
    return eval(cell.strip("`"), NAMES)


def is_same(left: Any, right: Any) -> bool:
    """Like `same`, for arrays and exceptions too."""
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and bool((left == right).all())
    if isinstance(left, Exception):
        return (type(left), left.args) == (type(right), right.args)
    return same(left, right)


def test_tables_are_found() -> None:
    assert len(TABLES["Sent"]) > 60
    assert len(TABLES["Sent as an argument"]) > 15


@pytest.mark.smoke
@pytest.mark.contract("4.1", "4.2", "4.3")
@pytest.mark.parametrize(("sent", "arrives", "wire"), TABLES["Sent"], ids=[row[0] for row in TABLES["Sent"]])
def test_crosses_as_the_table_says(codec: Codec, sent: str, arrives: str, wire: str) -> None:
    value = code(sent)
    expected = value if arrives == "the same" else code(arrives)
    assert codec.encode(value).hex() == wire.strip("`")
    arrived = codec.decode(bytes.fromhex(wire.strip("`")))
    assert type(arrived) is type(expected)
    assert is_same(arrived, expected)


@pytest.mark.contract("4.1")
@pytest.mark.parametrize("sent", [row[0] for row in TABLES["Sent"]])
def test_crosses_inside_a_container_too(codec: Codec, sent: str) -> None:
    alone = codec.encode(code(sent))
    assert codec.encode([{"a": code(sent)}]) == b"\x81\xa1\x61a" + alone
    assert codec.decode(b"\x81\xa1\x61a" + alone)[0]["a"] is not None or alone == b"\xf6"


@pytest.mark.smoke
@pytest.mark.contract("4.5")
@pytest.mark.parametrize(("sent", "says"), TABLES["Sent as an argument"])
def test_is_refused_as_the_table_says(codec: Codec, sent: str, says: str) -> None:
    with pytest.raises(CloneError) as caught:
        codec.encode([code(sent)])
    assert str(caught.value) == f"An object could not be cloned. ({says.strip('`')})"
    assert isinstance(caught.value, TypeError)


@pytest.mark.contract("4.5")
def test_root_names_what_the_path_starts_from(codec: Codec) -> None:
    with pytest.raises(CloneError, match=re.escape("(result: function)")):
        codec.encode(test_tables_are_found, root="result")


@pytest.mark.contract("4.5")
def test_no_pickle_anywhere(codec: Codec) -> None:
    class Sneaky:
        def __reduce__(self) -> tuple[Any, ...]:
            raise AssertionError("pickled")

    with pytest.raises(CloneError, match=r"\(args\[0\]: Sneaky\)"):
        codec.encode([Sneaky()])
    with pytest.raises(BadMessage):
        codec.decode(pickle.dumps({"a": 1}))


@pytest.mark.contract("4.1")
@pytest.mark.parametrize(
    ("wire", "value"),
    [
        ("f7", None),
        ("82f7f6", [None, None]),
        ("f93e00", 1.5),
        ("fa3fc00000", 1.5),
        ("fa7f800000", math.inf),
        ("1818", 24),
        ("1b0000000000000001", 1),
        ("c243010000", 65536),
        ("c240", 0),
        ("c340", -1),
        ("7b0000000000000001" + "61", "a"),
        ("b900016161f4", {"a": False}),
        ("c074323032362d31312d32315431323a33303a30305a", datetime(2026, 11, 21, 12, 30, tzinfo=UTC)),
        ("d850443e00bc00", array("f", [1.5, -1.0])),
        ("d84442ff00", array("B", [255, 0])),
        ("d8414200ff", array("H", [255])),
    ],
)
def test_what_only_others_write(codec: Codec, wire: str, value: object) -> None:
    arrived = codec.decode(bytes.fromhex(wire))
    assert type(arrived) is type(value)
    assert arrived == value


@pytest.mark.contract("4.1")
def test_dicts_keep_their_order(codec: Codec) -> None:
    assert list(codec.clone({"b": 1, "a": 2, "c": {"z": 1, "y": 2}})) == ["b", "a", "c"]


@pytest.mark.contract("4.1")
@pytest.mark.parametrize("key", [1, True, 1.0, Decimal(1), Fraction(1), 0, False, -0.0])
def test_a_key_keeps_its_type_among_equal_ones(codec: Codec, key: object) -> None:
    assert same(codec.clone({key: "x"}), {key: "x"})
    assert same(codec.clone({key}), {key})


@pytest.mark.contract("4.1")
@given(value=TREES)
@settings(deadline=None)
def test_everything_arrives_equal_with_its_types(value: object) -> None:
    for codec in CODECS:
        assert same(codec.clone(value), value)


@given(value=TREES | graphs())
@settings(deadline=None)
def test_all_codecs_write_the_same(value: object) -> None:
    assert len({codec.encode([value]) for codec in CODECS}) == 1


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("value", [[{"a": 1}], ["é€"], [0.1], [b"\xf7\xe0"], [{1, 2}], [b"x" * 100_000]])
def test_trailing_bytes_are_an_error(codec: Codec, value: object) -> None:
    data = codec.encode(value)
    for rest in (b"\x00", b"\xf6", b"\xff", data, b"\x50" + bytes(16)):
        with pytest.raises(BadMessage):
            codec.decode(data + rest)
    for size in (0, 1, len(data) - 1):
        with pytest.raises(BadMessage):
            codec.decode(data[:size])


@pytest.mark.parametrize("value", [[{"a": [1, "é€"]}], [b"x" * 100_000], [["abc"] * 20_000]])
def test_views_can_be_decoded(codec: Codec, value: object) -> None:
    data = codec.encode(value)
    assert codec.decode(memoryview(data)) == value
    assert codec.decode(memoryview(b"head" + data)[4:]) == value
    assert codec.decode(memoryview(data).cast("c")) == value


@pytest.mark.parametrize("size", [clone.LARGE - 1, clone.LARGE, clone.LARGE + 1, 1 << 20])
def test_large_strings(codec: Codec, size: int) -> None:
    value = [{"data": b"\xf7" * size, "more": [bytearray(size)], "text": "€" * size}]
    assert codec.clone(value) == [{"data": b"\xf7" * size, "more": [bytes(size)], "text": "€" * size}]


def test_large_message_of_many_items(codec: Codec) -> None:
    value = [list(range(clone.LARGE)), {str(number): float(number) for number in range(clone.FEW_ITEMS)}, b"\xf7"]
    assert codec.clone(value) == value


def test_many_items_and_an_undefined(codec: Codec) -> None:
    data = b"\x99\xff\xff" + b"\xf7" * 65_535
    assert codec.decode(data) == [None] * 65_535


def test_the_plain_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_this_way(*_: object, **__: object) -> None:
        raise AssertionError("walked")

    monkeypatch.setattr(clone, "Encoder", not_this_way)
    monkeypatch.setattr(clone, "Decoder", not_this_way)
    value = [{"path": "docs/größe €.txt", "n": 42, "tags": ["a", "b"], "f": 0.5, "x": None, "y": True, "z": b"\xf7"}]
    assert decode(encode(value)) == value


@pytest.mark.parametrize("tag", [0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 1004, 55799])
def test_cbor2_decodes_no_tag(monkeypatch: pytest.MonkeyPatch, tag: int) -> None:
    class Walked(Exception):
        pass

    def walk(*_: object, **__: object) -> None:
        raise Walked

    monkeypatch.setattr(clone, "Decoder", walk)
    monkeypatch.setattr(re, "compile", None)
    with pytest.raises(Walked):
        decode(cbor2.dumps([cbor2.CBORTag(tag, "(")]))


@pytest.mark.contract("4.2", "4.6")
def test_no_pattern_is_compiled(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.encode([RegExp("(", "i")])
    monkeypatch.setattr(re, "compile", None)
    assert codec.decode(data) == [RegExp("(", "i")]


def test_numpy_is_not_imported_before_it_is_needed() -> None:
    script = "import sys, mainbus.wire.clone as c; c.decode(c.encode([1, {2.5}])); sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.contract("4.1")
def test_a_lone_surrogate_is_found_in_plain_values() -> None:
    for value, path in [(["a", "\ud800"], "args[1]"), ([{"\ud800": 1}], "args[0]")]:
        with pytest.raises(CloneError, match=re.escape(f"({path}: str with a lone surrogate at 0)")):
            encode(value)


@pytest.mark.contract("4.5")
def test_a_type_whose_metaclass_raises(codec: Codec) -> None:
    class Meta(type):
        def __hash__(cls) -> int:
            raise ZeroDivisionError

    hostile = Meta("Hostile", (), {})()
    with pytest.raises(CloneError, match=re.escape("(args[1].a: object whose type raised ZeroDivisionError)")):
        codec.encode([1, {"a": hostile}])


@pytest.mark.contract("4.6")
def test_errors_are_named() -> None:
    with pytest.raises(LimitExceeded) as caught:
        encode([[[]]], max_depth=2)
    assert (caught.value.limit, str(caught.value)) == (2, "The nesting depth exceeds the limit of 2")


@pytest.mark.contract("4.6")
def test_the_depth_that_is_allowed_unasked() -> None:
    value: list[Any] = []
    for _ in range(511):
        value = [value]
    assert decode(encode(value)) == value
    with pytest.raises(LimitExceeded, match="exceeds the limit of 512"):
        encode([value])
    with pytest.raises(LimitExceeded, match="exceeds the limit of 512"):
        decode(encode([value], max_depth=513))
