"""A lock, and waiting for what others change under it; in good order wherever Ctrl-C strikes.

`threading.Condition` and `Event` are not: an interrupt between two of their steps leaves a lock held or released
twice, and one that comes right before the wait begins is noticed only when it ends.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Final

SLICE: Final = 1.0
"""Seconds after which a wait looks up: a signal that came right before it began is seen then."""


class Monitor:
    """What threads share is changed `with monitor.lock`, and told with `notify`.

    Attributes:
        lock: Reentrant: a signal handler or a finaliser may need it while its own thread has it.
    """

    __slots__ = ("_sleepers", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._sleepers: list[threading.Lock] = []

    def notify(self) -> None:
        """Let all that wait ask again."""
        with self.lock:
            sleepers, self._sleepers = self._sleepers, []
            for sleeper in sleepers:
                sleeper.release()

    def wait_for(self, condition: Callable[[], object], deadline: float = math.inf) -> bool:
        """Wait until a condition, asked with the lock held, is true; returns whether it is.

        Args:
            condition: Asked at once, and whenever somebody notifies.
            deadline: When to give up, in seconds on the monotonic clock.
        """
        while True:
            with self.lock:
                if condition():
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                sleeper = threading.Lock()
                sleeper.acquire()
                self._sleepers.append(sleeper)
            if not sleeper.acquire(timeout=min(left, SLICE)):
                with self.lock:
                    if sleeper in self._sleepers:
                        self._sleepers.remove(sleeper)
