"""Which thread an object belongs to; checked by every verb."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final

_owners: Final[weakref.WeakSet[Owner]] = weakref.WeakSet()


class Owner:
    """The thread that made it; none at all in a process forked from that one.

    Args:
        what: The object, as the error names it.

    Attributes:
        thread: The thread's identity; -1 in a process forked from its own.
    """

    __slots__ = ("__weakref__", "_what", "thread")

    def __init__(self, what: str) -> None:
        self.thread = threading.get_ident()
        self._what = what
        _owners.add(self)

    def check(self) -> None:
        """Raise unless this is the owner's thread.

        Raises:
            RuntimeError: It is another thread, or a fork.
        """
        if threading.get_ident() != self.thread:
            raise RuntimeError(
                f"{self._what} belongs to the thread of its loop, and not to a forked process; from another thread "
                "use loop.call_soon_threadsafe, and without a loop mainbus.blocking"
            )

    def disown(self) -> None:
        """Belong to nobody."""
        self.thread = -1


class _Here(threading.local):
    """What `owner` has made in a thread."""

    def __init__(self) -> None:
        self.owners: dict[str, Owner] = {}


_here: Final = _Here()


def owner(what: str) -> Owner:
    """Return the owner of an object that this thread makes. Objects of one name share it: most threads have many."""
    found = _here.owners.get(what)
    if found is None:
        found = _here.owners[what] = Owner(what)
    return found


def _forked() -> None:
    # The child has the parent's thread identity, but neither its loop's state nor its connection.
    for owner in list(_owners):
        owner.disown()
    _here.owners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
