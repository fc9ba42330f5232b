"""Those who wait for messages of one renderer or frame, and end with it."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from mainbus.incoming import Incoming


class Waiters:
    """What `listen` and `wait_for` have made and is not done."""

    def __init__(self) -> None:
        self.incoming: weakref.WeakSet[Incoming] = weakref.WeakSet()
        """Iterators of `listen`."""
        self.waiting: set[asyncio.Future[tuple[Any, ...]]] = set()
        """Those who wait for one message; they get an empty one at the end."""

    def end(self) -> None:
        """End them all: no message will come any more."""
        for incoming in list(self.incoming):
            incoming.close()
        for future in self.waiting:
            if not future.done():
                future.set_result(())
