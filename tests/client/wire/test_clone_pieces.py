"""Large byte strings, which are not copied more than they must be; and whatever a message in pieces may be."""

from __future__ import annotations

import array
import random
from typing import Any

import pytest
from mainbus.errors import BadMessage, LimitExceeded
from mainbus.wire import clone
from mainbus.wire.pieces import Pieces

LARGE = bytes(range(256)) * 1024


def split(body: bytes, start: int, size: int) -> Pieces:
    return Pieces((body[:start], body[start : start + size], body[start + size :]))


@pytest.mark.contract("4.1")
@pytest.mark.parametrize(
    "value",
    [[LARGE], [1, {"a": LARGE, "b": [LARGE, "x"]}], {"k": [LARGE, LARGE[:70_000], None]}, [LARGE, [[]] * 3]],
)
def test_bytes_stay_where_they_are_and_say_what_the_joined_message_says(value: Any) -> None:
    body = clone.encode_body(value)
    assert isinstance(body, Pieces)
    assert any(part is LARGE for part in body.parts)
    assert bytes(body) == clone.encode(value)
    assert clone.decode(body) == value


@pytest.mark.contract("4.1")
@pytest.mark.parametrize(
    "value", [LARGE, [LARGE], [None, LARGE], [1, {"a": [None]}, "x", LARGE], [[None], [LARGE]], [b"x" * 70_000, LARGE]]
)
def test_what_ends_in_a_large_byte_string_says_the_same_in_one_piece(value: Any) -> None:
    body = clone.encode_body(value)
    assert isinstance(body, Pieces)
    assert bytes(body) == clone.encode(value)
    assert clone.decode(body) == clone.decode(bytes(body)) == value


@pytest.mark.contract("8.7")
@pytest.mark.parametrize(
    ("front", "value"),
    [
        # What looks like the head of the large one is the end of a text, which goes on into it.
        (b"\x82\x01\x7a\x00\x04\x00\x05" + b"\x5a\x00\x04\x00\x00", [1, "Z\0\4\0\0" + "a" * 0x40000]),
        (b"\x81\x5a\x00\x04\x00\x00", [b"a" * 0x40000]),
        (b"\x82\x5a\x00\x04\x00\x00", None),
        (b"\x81\xf6\x5a\x00\x04\x00\x00", None),
        (b"\x5a\x00\x04\x00\x01", None),
    ],
)
def test_a_head_is_one_only_where_an_item_begins(front: bytes, value: Any) -> None:
    body = Pieces((front, b"a" * 0x40000))
    if value is None:
        with pytest.raises(BadMessage):
            clone.decode(body)
    else:
        assert clone.decode(body) == clone.decode(bytes(body)) == value


@pytest.mark.contract("4.1")
def test_what_somebody_can_change_is_copied_at_once() -> None:
    data, numbers = bytearray(LARGE), array.array("i", range(50_000))
    body = clone.encode_body([LARGE, data, memoryview(data), numbers])
    data[:4], numbers[0] = b"new!", 99
    data.append(1)
    assert clone.decode(body) == [LARGE, LARGE, LARGE, array.array("i", range(50_000))]


@pytest.mark.contract("4.1")
def test_the_large_byte_string_of_a_message_in_pieces_is_the_very_one_that_arrives() -> None:
    body = bytes(clone.encode_body(["a", LARGE, {"b": 2}]))
    found = clone.find_large(body[:1000])
    assert found is not None
    pieces = split(body, *found)
    value = clone.decode(pieces)
    assert value == ["a", LARGE, {"b": 2}]
    assert isinstance(value, list)
    assert value[1] is pieces.parts[1]


@pytest.mark.parametrize(
    "value", [["text" * 50_000], [array.array("d", range(9000))], {LARGE: 1}, [0.5] * 300 + [LARGE]]
)
def test_wherever_it_is_cut_it_says_the_same(value: Any) -> None:
    body = clone.encode(value)
    draw = random.Random(5)
    for _ in range(20):
        start = draw.randrange(len(body))
        assert clone.decode(split(body, start, draw.randrange(len(body) - start))) == value


@pytest.mark.contract("4.6")
def test_a_message_in_pieces_is_as_wrong_as_the_joined_one() -> None:
    good = clone.encode([LARGE])
    for body in (good[:-1], good + b"\x00", b"\xff" + good[1:], b"\x81" * 600 + b"\x01" + LARGE):
        with pytest.raises((BadMessage, LimitExceeded)) as joined:
            clone.decode(body)
        for cut in (1, 6, 700):
            with pytest.raises(type(joined.value)) as apart:
                clone.decode(split(body, cut, len(body) - cut - 1))
            assert str(apart.value) == str(joined.value)


@pytest.mark.contract("4.6")
@pytest.mark.parametrize("first", [b"", b"\x80", b"\x81\x00", b"\xff\xff", b"\x9a\x00\x01\x00\x00" + bytes(1000)])
def test_where_no_large_byte_string_begins_none_is_found(first: bytes) -> None:
    assert clone.find_large(first) is None


def test_what_is_short_is_in_one_piece() -> None:
    assert isinstance(clone.encode_body([LARGE[:70_000]]), bytes)
    assert isinstance(clone.encode_body(["text" * 100_000]), bytes)
