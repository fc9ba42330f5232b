"""Timeouts: seconds in the API, milliseconds on the wire."""

from __future__ import annotations

from math import ceil, isfinite

from mainbus.wire.packets import MAX_U32


def check_timeout(timeout: float | None) -> None:
    """Refuse what is no number of seconds.

    Raises:
        TypeError: not a number, nor None.
        ValueError: negative, infinite or not a number.
    """
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        raise TypeError(f"Expected timeout to be seconds or None, but found type {type(timeout).__name__!r}")
    if not isfinite(timeout) or timeout < 0:
        raise ValueError(f"Expected timeout to be a finite number of seconds, not negative, but found {timeout!r}")


def milliseconds(timeout: float | None) -> int:
    """Return a timeout in seconds as the wire has it: at least 1, and 0 for none."""
    return 0 if timeout is None else max(1, min(MAX_U32, ceil(timeout * 1000)))
