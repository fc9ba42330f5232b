"""Room in a pool: no two that are in use overlap, and what is free again is one piece."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mainbus.pool_room import ALIGNMENT, Room

SIZE = 16 * ALIGNMENT


def test_the_lowest_place_that_is_large_enough_is_taken() -> None:
    room = Room(SIZE)
    assert [room.take(1), room.take(ALIGNMENT + 1), room.take(ALIGNMENT)] == [0, ALIGNMENT, 3 * ALIGNMENT]
    room.give_back(ALIGNMENT)
    room.give_back(0)
    assert room.take(3 * ALIGNMENT) == 0
    assert room.take(SIZE) is None
    assert room.take(12 * ALIGNMENT) == 4 * ALIGNMENT
    assert room.take(1) is None


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(1, 6 * ALIGNMENT)), max_size=40))
def test_what_is_in_use_never_overlaps_and_comes_back_whole(steps: list[tuple[bool, int]]) -> None:
    room = Room(SIZE)
    used: dict[int, int] = {}
    for takes, size in steps:
        if takes:
            start = room.take(size)
            if start is not None:
                assert start + size <= SIZE
                assert all(start + size <= other or other + length <= start for other, length in used.items())
                used[start] = size
        elif used:
            start = sorted(used)[size % len(used)]
            del used[start]
            room.give_back(start)
    for start in used:
        room.give_back(start)
    assert room.is_all_free
    assert room.take(SIZE) == 0
