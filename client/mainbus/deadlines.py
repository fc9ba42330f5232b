"""Many deadlines under one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_SLACK: Final = 64


class Deadlines(Generic[Key]):
    """Calls `expire` with each key whose time has come and that is still wanted.

    A deadline is never taken out: one whose key is not `wanted` any more is passed over, and when those are the
    majority the heap is made anew, so that it never holds more than twice what is wanted.
    """

    __slots__ = ("_count", "_expire", "_heap", "_loop", "_timer", "_wanted")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, wanted: Callable[[Key], bool], expire: Callable[[Key], None]
    ) -> None:
        self._loop = loop
        self._wanted = wanted
        self._expire = expire
        self._heap: list[tuple[float, int, Key]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, seconds: float, key: Key) -> None:
        """Expire `key` in `seconds`, if it is still wanted then."""
        heap = self._heap
        if len(heap) >= self._count:
            heap[:] = [entry for entry in heap if self._wanted(entry[2])]
            heapify(heap)
            self._count = 2 * len(heap) + _SLACK
        when = self._loop.time() + seconds
        heappush(heap, (when, id(key), key))
        if heap[0][0] >= when:
            self._set_timer()

    def clear(self) -> None:
        """Forget all of them."""
        self._heap.clear()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._heap[0][0], self._run) if self._heap else None

    def _run(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now:
            key = heappop(self._heap)[2]
            if self._wanted(key):
                self._expire(key)
        self._set_timer()
