"""The consumer of a stream as a plain iterator."""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import Any, Final, Self

from mainbus.blocking.loop import LoopThread
from mainbus.blocking.waiter import Waiter
from mainbus.streams import StreamReply, forgive


class Items:
    """What `stream` returns: an iterator over the items, and a context manager. Any threads may take, one at a time.

    The end of a `with`, `close`, or Ctrl-C while it waits closes the stream at once: its generator is ended at the
    other end. One that is left with a bare `break` is closed when it is dropped. It raises what `mainbus.Stream` does.

    Args:
        loop: The reader thread.
        reply: What the reader thread puts the items into.
    """

    __slots__ = ("__weakref__", "_is_begun", "_is_over", "_lock", "_loop", "_reply")

    def __init__(self, loop: LoopThread, reply: StreamReply) -> None:
        self._loop: Final = loop
        self._reply: Final = reply
        self._lock = threading.RLock()
        self._is_begun = False
        self._is_over = False
        """Whether its end was told, or nobody wants to know."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        with self._lock:
            self._is_begun = True
            reply = self._reply
            while not self._is_over:
                # In this order: it is done only when all its items are there.
                is_done = reply.done()
                with suppress(IndexError):
                    value, credit = reply.pop()
                    if credit:
                        self._loop.post(partial(reply.give, credit))
                    return value
                if is_done:
                    self._is_over = True
                    error = None if reply.cancelled() else reply.exception()
                    if error is not None:
                        raise error
                else:
                    self._wait()
            raise StopIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the stream at once; a second call does nothing. It does not wait for the generator's end."""
        self._is_over = True
        self._loop.post(partial(_close, self._reply))

    def _wait(self) -> None:
        """Wait for an item, or the end."""
        try:
            self._loop.wait(self._arrival)
        except BaseException:
            self.close()
            raise

    def _arrival(self, waiter: Waiter) -> None:
        reply = self._reply
        if reply.items or reply.done():
            waiter.succeed(None)
        else:
            reply.getter = reply.get_loop().create_future()
            waiter.follow(reply.getter)

    def __del__(self) -> None:
        # A finaliser runs in any thread, maybe while this very one holds a lock: it only posts.
        if not self._reply.done() or self._is_begun:
            self._loop.post(partial(_close, self._reply))


def _close(reply: StreamReply) -> None:
    reply.items.clear()
    if not reply.cancel():
        forgive(reply)
