"""Bytes in several places: as one, and a chunk at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.wire.pieces import Pieces, front_of


@given(parts=st.lists(st.binary(max_size=20), max_size=6), size=st.integers(1, 30))
def test_chunks_are_all_of_it_and_full_but_for_the_last(parts: list[bytes], size: int) -> None:
    pieces = Pieces(parts)
    whole = b"".join(parts)
    chunks = [b"".join(chunk) for chunk in pieces.chunks(size)]
    assert chunks == [whole[at : at + size] for at in range(0, len(whole), size)]
    assert bytes(pieces) == whole
    assert len(pieces) == len(whole)


def test_a_chunk_is_a_view_of_what_is_there() -> None:
    part = bytes(100)
    ((first,), (second,)) = Pieces((part,)).chunks(60)
    assert first.obj is second.obj is part


def test_something_in_front_is_one_more_piece() -> None:
    pieces = b"table" + Pieces((b"body",))
    assert pieces.parts == (b"table", b"body")


@pytest.mark.parametrize("packet", [b"head", Pieces((b"head", b"body"))])
def test_the_front_is_what_stands_first(packet: bytes | Pieces) -> None:
    assert front_of(packet) == b"head"
