"""Those who wait for messages of one renderer or frame, and end with it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any

from mainbus.incoming import Mailbox


class Waiters:
    """What `listen` and `wait_for` have made and is not done.

    Args:
        loop: Where messages arrive; None before there is a loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._mailboxes: weakref.WeakSet[Mailbox] | None = None
        self._waiting: set[asyncio.Future[tuple[Any, ...]]] | None = None
        self._loop = loop

    @property
    def mailboxes(self) -> weakref.WeakSet[Mailbox]:
        """Where iterators of `listen` take from."""
        if self._mailboxes is None:
            self._mailboxes = weakref.WeakSet()
        return self._mailboxes

    @property
    def waiting(self) -> set[asyncio.Future[tuple[Any, ...]]]:
        """Those who wait for one message; they get an empty one at the end."""
        if self._waiting is None:
            self._waiting = set()
        return self._waiting

    def post(self, call: Callable[[], None]) -> None:
        """Make a call on the loop, from any thread. Before there is one nothing arrives, and it is made at once."""
        if self._loop is None:
            call()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def end(self) -> None:
        """End them all: no message will come any more."""
        for mailbox in list(self._mailboxes or ()):
            mailbox.close()
        for future in self._waiting or ():
            if not future.done():
                future.set_result(())
