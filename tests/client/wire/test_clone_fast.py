"""The compiled codec: what it writes and reads is what the other encoder and decoder do, or it leaves it to them."""

import sys
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mainbus.errors import BadMessage, LimitExceeded
from mainbus.wire import CODEC, clone
from mainbus.wire.clone_decode import Decoder
from mainbus.wire.clone_encode import Encoder

from tests.support.clones import same

pytestmark = pytest.mark.skipif(CODEC != "compiled", reason="nothing was compiled, or MAINBUS_PURE is set")

if CODEC == "compiled":
    from mainbus.wire import clone_fast
    from mainbus.wire.clone_fast import NotCommon

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
COMMON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner))
REST = st.recursive(
    SCALARS | st.sets(st.integers()) | st.decimals() | st.just(1 << 70),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
)


@given(COMMON | REST)
@example([0.0, -0.0, float("nan"), float("inf"), float("-inf")])
@example([-(1 << 63), (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 1 << 64, -(1 << 64), -(1 << 64) - 1])
@example(["", "a" * 23, "a" * 24, "a" * 255, "a" * 256, "a" * 65_535, "a" * 65_536, "é" * 12, "\U0001f600"])
@example([b"", b"a" * 32_767, b"a" * 32_768])
def test_it_writes_the_same_bytes_or_none(value: Any) -> None:
    try:
        written = clone_fast.encode(value, 512)
    except (NotCommon, UnicodeEncodeError):
        return
    assert written == Encoder("args", 512).encode(value)


@given(COMMON | REST)
def test_it_reads_the_same_value_or_none(value: Any) -> None:
    data = clone.encode(value)
    try:
        found = clone_fast.decode(data, 512)
    except NotCommon:
        return
    assert same(found, Decoder(data, 512).decode())


@given(st.binary(max_size=64), st.integers(0, 8))
@example(b"\x9b" + b"\xff" * 8, 8)
@example(b"\xbb" + b"\x7f" + b"\xff" * 7, 8)
@example(b"\x5b" + b"\xff" * 8, 8)
@example(b"\x7b" + b"\x80" + b"\x00" * 7, 8)
@example(b"\xa2\x61a\x01\x61a\x02", 8)
@example(b"\x81" * 9 + b"\x80", 8)
@example(b"\x3b" + b"\xff" * 8, 8)
def test_any_bytes_are_read_as_the_decoder_reads_them_or_not(data: bytes, depth: int) -> None:
    try:
        found = clone_fast.decode(data, depth)
    except (NotCommon, UnicodeDecodeError):
        return
    try:
        expected = Decoder(data, depth).decode()
    except (BadMessage, LimitExceeded) as error:
        raise AssertionError(f"read as {found!r}, which the decoder refuses") from error
    assert same(found, expected)


@given(COMMON, st.data())
def test_what_was_cut_off_or_spoilt_is_read_as_the_decoder_reads_it(value: Any, drawn: st.DataObject) -> None:
    data = bytearray(clone.encode(value))
    at = drawn.draw(st.integers(0, len(data) - 1))
    data[at] = drawn.draw(st.integers(0, 255))
    spoilt = bytes(data[: drawn.draw(st.integers(at, len(data)))])
    test_any_bytes_are_read_as_the_decoder_reads_them_or_not.hypothesis.inner_test(spoilt, 512)  # type: ignore[attr-defined]


@pytest.mark.contract("4.4")
@pytest.mark.parametrize("container", [[], {}, [1], {"a": 1}])
def test_what_occurs_twice_is_left_to_the_encoder(container: Any) -> None:
    for value in ([container, container], {"a": container, "b": [container]}):
        with pytest.raises(NotCommon):
            clone_fast.encode(value, 512)
    container_holds_itself: list[Any] = []
    container_holds_itself.append(container_holds_itself)
    with pytest.raises(NotCommon):
        clone_fast.encode(container_holds_itself, 512)


def test_many_containers_that_others_hold_are_left_to_the_encoder() -> None:
    held: list[list[int]] = [[] for _ in range(40)]
    with pytest.raises(NotCommon):
        clone_fast.encode(list(held), 512)
    assert clone_fast.encode([[] for _ in range(1000)], 512) == Encoder("args", 512).encode([[] for _ in range(1000)])


@pytest.mark.contract("4.6")
def test_depth_is_bounded_both_ways() -> None:
    value: list[Any] = []
    for _ in range(9):
        value = [value]
    data = clone_fast.encode(value, 10)
    assert clone_fast.decode(data, 10) == value
    for depth in (0, 9):
        with pytest.raises(NotCommon):
            clone_fast.encode(value, depth)
        with pytest.raises(NotCommon):
            clone_fast.decode(data, depth)
    with pytest.raises(NotCommon):
        clone_fast.decode(b"\x81" * 1_000_000, 1 << 30)


def test_nothing_is_kept_and_nothing_is_lost() -> None:
    value = {"name": "x" * 300, "items": [1.5, None, True, b"bytes", ("a", "b")]}
    data = clone_fast.encode(value, 512)
    counts = [sys.getrefcount(value), sys.getrefcount(value["items"]), sys.getrefcount(data)]
    for _ in range(1000):
        clone_fast.encode(value, 512)
        clone_fast.decode(data, 512)
    assert counts == [sys.getrefcount(value), sys.getrefcount(value["items"]), sys.getrefcount(data)]
