"""Invokes and streams that were forwarded from renderer to renderer and have no answer yet, with their deadlines."""

from __future__ import annotations

import asyncio

from mainbus.deadlines import Deadlines
from mainbus.errors import InvokeTimeout
from mainbus.wire.packets import Kind, build

from mainbus_broker.peer import Peer
from mainbus_broker.streams import Streams


class Replies:
    """Who owes whom an answer. An entry ends with the answer, or with one of its two renderers."""

    __slots__ = ("_asked", "_cancelled", "_deadlines", "_serving", "expired", "streams")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.streams = Streams()
        """Those that are streams."""
        self.expired = 0
        """How many were not answered in time."""
        self._asked: dict[Peer, dict[int, Peer]] = {}
        self._serving: dict[Peer, set[tuple[Peer, int]]] = {}
        self._cancelled: set[tuple[Peer, int]] = set()
        self._deadlines: Deadlines[tuple[Peer, int]] = Deadlines(loop, self._waits, self._expire)

    def __len__(self) -> int:
        return sum(map(len, self._asked.values()))

    def add(self, caller: Peer, request: int, callee: Peer, timeout: int, *, is_stream: bool = False) -> bool:
        """Note a request; False if the caller used its number already. `timeout` in milliseconds, 0 for none."""
        asked = self._asked.get(caller)
        if asked is None:
            asked = self._asked[caller] = {}
        if request in asked:
            return False
        asked[request] = callee
        serving = self._serving.get(callee)
        if serving is None:
            serving = self._serving[callee] = set()
        serving.add((caller, request))
        if is_stream:
            self.streams.add(caller, request)
        if timeout:
            self._deadlines.add(timeout / 1000, (caller, request))
        return True

    def pending(self, caller: Peer) -> int:
        """Return how many invokes of a renderer are unanswered."""
        asked = self._asked.get(caller)
        return len(asked) - self.streams.count(caller) if asked else 0

    def callee(self, caller: Peer, request: int) -> Peer | None:
        """Return who is to answer a request, if anybody is."""
        asked = self._asked.get(caller)
        return asked.get(request) if asked else None

    def cancel(self, caller: Peer, request: int) -> Peer | None:
        """Return who is to be told that a request was cancelled; None if nobody is to answer it, or was told before."""
        callee = self.callee(caller, request)
        if callee is None or (caller, request) in self._cancelled:
            return None
        self._cancelled.add((caller, request))
        return callee

    def claim(self, caller: Peer, request: int, callee: Peer) -> bool:
        """End a request with the answer of `callee`; False if it is not its to answer."""
        asked = self._asked.get(caller)
        if not asked or asked.get(request) is not callee:
            return False
        del asked[request]
        self._serving[callee].discard((caller, request))
        self.streams.end(caller, request)
        if self._cancelled:
            self._cancelled.discard((caller, request))
        return True

    def forget(self, peer: Peer) -> tuple[list[tuple[int, Peer]], list[tuple[int, Peer]]]:
        """Drop what a renderer that is gone asked and owed; returns (request, callee) and (request, caller)."""
        asked = list(self._asked.pop(peer, {}).items())
        for request, callee in asked:
            self._serving[callee].discard((peer, request))
            self._cancelled.discard((peer, request))
        serving = [(request, caller) for caller, request in self._serving.pop(peer, ())]
        for request, caller in serving:
            self._asked[caller].pop(request, None)
            self.streams.end(caller, request)
            self._cancelled.discard((caller, request))
        self.streams.forget(peer)
        return [(request, callee) for request, callee in asked if callee is not peer], serving

    def close(self) -> None:
        """Forget the deadlines of what has been answered."""
        assert not self, "replies are owed at the end"
        self._deadlines.clear()

    def _waits(self, key: tuple[Peer, int]) -> bool:
        return self.callee(*key) is not None

    def _expire(self, key: tuple[Peer, int]) -> None:
        caller, request = key
        callee = self.callee(caller, request)
        if callee is not None:
            self.expired += 1
            # The value tells the callee why, which its own clock may not yet.
            callee.outbox.put(build(Kind.CANCEL, caller.id, request, value=InvokeTimeout.wire_code))
