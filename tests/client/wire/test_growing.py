"""Byte strings that arrive in parts, in both ways of putting them together."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.wire import CODEC
from mainbus.wire.growing import Growing, PureGrowing

WAYS = [pytest.param(PureGrowing, id="pure"), pytest.param(Growing, id=CODEC)]


@pytest.mark.parametrize("way", WAYS)
@given(parts=st.lists(st.binary(max_size=3000), max_size=8), more=st.integers(0, 5000))
def test_what_has_come_is_what_was_added(way: type[PureGrowing], parts: list[bytes], more: int) -> None:
    size = sum(map(len, parts)) + more
    growing = way(size)
    for part in parts:
        growing.add(b"x" + part + b"y", 1, 1 + len(part))
    assert growing.missing == more
    assert growing.take() == b"".join(parts)
    assert growing.take() == b""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (3, 2), (0, 7), (0, 6)])
def test_no_more_than_is_missing_and_no_other_bytes_than_there_are(
    way: type[PureGrowing], start: int, stop: int
) -> None:
    growing = way(5)
    with pytest.raises(ValueError, match="slice of the data"):
        growing.add(b"123456", start, stop)
    growing.add(b"12345", 0, 5)
    with pytest.raises(ValueError, match="slice of the data"):
        growing.add(b"6", 0, 1)
    assert growing.take() == b"12345"
    with pytest.raises(ValueError, match="size"):
        way(-1)


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("way", WAYS)
def test_a_length_that_is_only_declared_takes_no_memory(way: type[PureGrowing]) -> None:
    part = bytes(1000)
    tracemalloc.start()
    try:
        growing = way(1 << 40)
        growing.add(part, 0, 1000)
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    assert growing.missing == (1 << 40) - 1000


@pytest.mark.parametrize("way", WAYS)
def test_what_is_given_away_is_not_written_to_again(way: type[PureGrowing]) -> None:
    growing = way(4)
    growing.add(b"ab", 0, 2)
    first = growing.take()
    growing.add(b"cd", 0, 2)
    assert (first, growing.take()) == (b"ab", b"cd")
