"""Which parts of a pool are in use: the first that is free and large enough is taken, so that few pages are touched."""

from __future__ import annotations

from typing import Final

ALIGNMENT: Final = 4096


class Room:
    """The room in one pool.

    Args:
        size: Bytes of it.
    """

    __slots__ = ("_free", "_taken", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = [(0, size)]
        """Start and length of each free part, in order; no two of them touch."""
        self._taken: dict[int, int] = {}

    @property
    def is_all_free(self) -> bool:
        """Whether nothing is in use."""
        return not self._taken

    @property
    def used(self) -> int:
        """Bytes in use."""
        return sum(self._taken.values())

    def take(self, size: int) -> int | None:
        """Return where a free part of `size` bytes starts, which is in use from now on; None if there is none."""
        need = -(-size // ALIGNMENT) * ALIGNMENT
        for index, (start, length) in enumerate(self._free):
            if length >= need:
                self._free[index : index + 1] = [(start + need, length - need)] if length > need else []
                self._taken[start] = need
                return start
        return None

    def give_back(self, start: int) -> None:
        """Free what starts there."""
        merged: list[tuple[int, int]] = []
        for part in sorted([*self._free, (start, self._taken.pop(start))]):
            if merged and sum(merged[-1]) == part[0]:
                merged[-1] = (merged[-1][0], merged[-1][1] + part[1])
            else:
                merged.append(part)
        self._free = merged
