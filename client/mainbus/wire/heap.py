"""How freed memory is kept for the next large message: fresh memory costs more than all that is copied into it.

The allocator of glibc gives large blocks back to the system when they are freed, and each page of the next one is
then made, and cleared, anew. But it learns: once a large block was freed it keeps blocks of that size, and twice as
much in all. So one is freed, which nothing was written to and which has therefore cost nothing. Other allocators do
not mind.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Final

MOST: Final = 31 * 1024 * 1024
"""Bytes of the largest block that glibc keeps, a little less."""

_expected = 0


def expect(size: int) -> None:
    """Let the process keep what it frees, for blocks of up to `size` bytes; what it keeps is bounded by `MOST`."""
    global _expected
    if size > _expected:
        _expected = size
        # It is for speed alone: there may be memory for what comes, and none for this.
        with suppress(MemoryError):
            # Two of them, one of which is being made while the other is in use.
            bytearray(min(2 * size, MOST))
