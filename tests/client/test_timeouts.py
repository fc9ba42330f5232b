"""Timeouts: seconds in the API, milliseconds on the wire."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.timeouts import check_timeout, milliseconds
from mainbus.wire.packets import MAX_U32


@pytest.mark.parametrize("timeout", [None, 0, 0.0, 1, 2.5, 1e9])
def test_what_is_a_timeout(timeout: float | None) -> None:
    check_timeout(timeout)


@pytest.mark.parametrize("timeout", ["1", True, b"", [1]])
def test_what_is_no_number(timeout: float) -> None:
    with pytest.raises(TypeError, match="Expected timeout to be seconds or None, but found type"):
        check_timeout(timeout)


@pytest.mark.parametrize("timeout", [-1, -0.001, math.inf, math.nan])
def test_what_is_no_time(timeout: float) -> None:
    with pytest.raises(ValueError, match="finite number of seconds, not negative"):
        check_timeout(timeout)


@given(st.floats(min_value=0, max_value=1e12))
def test_a_timeout_never_becomes_none_or_shorter(timeout: float) -> None:
    sent = milliseconds(timeout)
    assert 1 <= sent <= MAX_U32
    assert sent >= min(MAX_U32, timeout * 1000)


def test_none_is_none() -> None:
    assert milliseconds(None) == 0
