"""Bytes in several places: as one, and a chunk at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.wire.pieces import Pieces, PurePieces, chunks, front_of

each = pytest.mark.parametrize("pieces_of", dict.fromkeys((Pieces, PurePieces)), ids=lambda kind: str(kind.__name__))


@given(parts=st.lists(st.binary(max_size=20), max_size=6), size=st.integers(1, 30))
def test_chunks_are_all_of_it_and_full_but_for_the_last(parts: list[bytes], size: int) -> None:
    whole = b"".join(parts)
    found = [b"".join(chunk) for chunk in chunks(parts, size)]
    assert found == [whole[at : at + size] for at in range(0, len(whole), size)]


@each
@given(parts=st.lists(st.binary(max_size=20), max_size=6))
def test_they_are_one_run_of_bytes(pieces_of: type[Pieces], parts: list[bytes]) -> None:
    pieces = pieces_of(parts)
    assert bytes(pieces) == b"".join(parts)
    assert len(pieces) == len(b"".join(parts))


def test_a_chunk_is_a_view_of_what_is_there() -> None:
    part = bytes(100)
    ((first,), (second,)) = chunks((part,), 60)
    assert first.obj is second.obj is part


@each
def test_something_in_front_is_one_more_piece(pieces_of: type[Pieces]) -> None:
    pieces = b"table" + pieces_of((b"body",))
    assert isinstance(pieces, Pieces)
    assert pieces.parts == (b"table", b"body")


@pytest.mark.parametrize("packet", [b"head", Pieces((b"head", b"body"))])
def test_the_front_is_what_stands_first(packet: bytes | Pieces) -> None:
    assert front_of(packet) == b"head"
