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
        self.mailboxes: weakref.WeakSet[Mailbox] = weakref.WeakSet()
        """Where iterators of `listen` take from."""
        self.waiting: set[asyncio.Future[tuple[Any, ...]]] = set()
        """Those who wait for one message; they get an empty one at the end."""
        self._loop = loop

    def post(self, call: Callable[[], None]) -> None:
        """Make a call on the loop, from any thread. Before there is one nothing arrives, and it is made at once."""
        if self._loop is None:
            call()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call)

    def end(self) -> None:
        """End them all: no message will come any more."""
        for mailbox in list(self.mailboxes):
            mailbox.close()
        for future in self.waiting:
            if not future.done():
                future.set_result(())
