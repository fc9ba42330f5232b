"""The credit of one stream or port, in bytes: how far its sender may run ahead of its receiver."""

from __future__ import annotations

from typing import Final

WINDOW: Final = 256 * 1024
"""Bytes that may be under way before the sender waits."""

OVERHEAD: Final = 4 * 1024
"""Bytes that each message costs besides those of its body, so that a window is also a number of small messages."""

DIRECT_OVERHEAD: Final = 256
"""The same of a message past the broker: what one that waits takes in its receiver, and there is nobody else."""


def cost(size: int) -> int:
    """Return what a message with a body of `size` bytes costs."""
    return OVERHEAD + size


class Sending:
    """The sender's side: what has left and has not been taken at the other end."""

    __slots__ = ("used",)

    def __init__(self, used: int = 0) -> None:
        self.used = used

    @property
    def may_send(self) -> bool:
        """Whether another message may leave, whatever its size: so a large one is never stuck."""
        return self.used < WINDOW

    def sent(self, size: int) -> None:
        """Count a message with a body of `size` bytes out."""
        self.used += cost(size)

    def credited(self, credit: int) -> None:
        """Take back what the other end says was taken."""
        self.used = max(0, self.used - credit)


class Receiving:
    """The receiver's side: what was taken and has not been told to the sender."""

    __slots__ = ("_owed",)

    def __init__(self) -> None:
        self._owed = 0

    def taken(self, size: int) -> int:
        """Count a message in that was taken; returns the credit to give now, which is 0 for most."""
        self._owed += cost(size)
        # Half a window: often enough that a sender never stands still, seldom enough to cost little.
        if self._owed < WINDOW // 2:
            return 0
        return self.rest()

    def rest(self) -> int:
        """Return the credit that was not given yet, and count it as given."""
        owed, self._owed = self._owed, 0
        return owed
