"""Heads, and the cursor that reads them."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.errors import BadMessage
from mainbus.wire import clone_cbor as cbor
from mainbus.wire.clone_cbor import Cursor, head, integer, text_of


@given(major=st.integers(0, 6), argument=st.integers(0, 2**64 - 1))
def test_heads_are_read_as_written(major: int, argument: int) -> None:
    cursor = Cursor(head(major, argument))
    first, found = cursor.head()
    assert (first >> 5, found, cursor.at) == (major, argument, cursor.end)


@pytest.mark.parametrize(
    ("argument", "size"),
    [(0, 1), (23, 1), (24, 2), (255, 2), (256, 3), (65_535, 3), (65_536, 5), (2**32 - 1, 5), (2**32, 9)],
)
def test_heads_are_short(argument: int, size: int) -> None:
    assert len(head(cbor.UNSIGNED, argument)) == size


@given(value=st.integers() | st.integers(-(2**300), 2**300))
def test_ints_are_written_as_cbor2_does(value: int) -> None:
    assert integer(value) == cbor2.dumps(value)
    assert Cursor(integer(value)).integer() == value


@given(value=st.floats() | st.floats(width=16) | st.floats(width=32))
def test_floats_of_all_widths_are_read(value: float) -> None:
    for canonical in (True, False):
        data = cbor2.dumps(value, canonical=canonical)
        found = cbor.float_of(*Cursor(data).head())
        assert repr(found) == repr(value)


@pytest.mark.parametrize("data", [b"", b"\x18", b"\x19\x00", b"\x1b\x00\x00\x00\x00\x00\x00\x00", b"\x1c", b"\x1f"])
def test_heads_that_are_none(data: bytes) -> None:
    for view in (data, memoryview(data)):
        with pytest.raises(BadMessage):
            Cursor(view).head()


def test_a_cursor_stays_inside() -> None:
    cursor = Cursor(b"\x42ab\x80")
    assert cursor.bytes() == b"ab"
    with pytest.raises(BadMessage):
        cursor.take(2)
    cursor.array(0)
    assert cursor.at == cursor.end


@pytest.mark.parametrize("data", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_text_is_utf8(data: bytes) -> None:
    with pytest.raises(BadMessage):
        text_of(memoryview(data))
