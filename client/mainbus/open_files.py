"""How many descriptors this process may have open, and whether another one leaves enough for the application."""

from __future__ import annotations

from typing import Final

try:
    import resource
except ImportError:
    # A system without them does not say how many files may be open.
    resource = None  # type: ignore[assignment]

SPARE_FILES: Final = 64
"""Descriptors that are left for others than connections, the application's files above all."""


def most_files() -> int:
    """Return how many descriptors this process may have: asked each time, since it may be changed while it runs."""
    if resource is None:
        return 1 << 30
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def has_files(fd: int) -> bool:
    """Whether there are descriptors to spare, by the number of a new one: the lowest that was free."""
    files = most_files()
    return fd < files - min(SPARE_FILES, files // 4)
