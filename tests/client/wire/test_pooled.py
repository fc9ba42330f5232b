"""Places in a pool: only what lies in it, and is no longer than a message may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.wire import pooled

NUMBERS = st.one_of(st.integers(0, 200), st.integers(0, 2**64 - 1))


@pytest.mark.contract("8.6")
@given(place=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS), pool=st.integers(0, 200), limit=st.integers(0, 200))
def test_a_place_is_in_the_pool_and_within_the_limit_or_none(place: pooled.Place, pool: int, limit: int) -> None:
    found = pooled.unpack(pooled.pack(place), pool, limit)
    memory = bytes(pool)
    start, length, large, size = place
    fits = start <= pool and len(memory[start : start + length]) == length <= limit
    assert found == (place if fits and large <= length and size <= length - large else None)


@pytest.mark.parametrize("body", [b"", bytes(31), bytes(33)])
def test_what_is_no_place_is_none(body: bytes) -> None:
    assert pooled.unpack(body, 100, 100) is None
