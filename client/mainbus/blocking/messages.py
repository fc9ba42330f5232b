"""Messages of one channel as a plain iterator."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Self

from mainbus.blocking.work import Work
from mainbus.registration import Registration


class Mailbox:
    """Messages that wait to be taken. It knows nothing of its iterator, so that one can be dropped and be noticed.

    Args:
        work: What delivers into it; held while it is full.
        max_queue: Messages that may wait.
    """

    __slots__ = ("_full", "_max", "_work", "closed", "messages", "registration")

    def __init__(self, work: Work, max_queue: int) -> None:
        if max_queue < 1:
            raise ValueError(f"Expected max_queue to be at least 1, but found {max_queue}")
        self.messages: deque[tuple[Any, ...]] = deque()
        self.closed = False
        self.registration: Registration | None = None
        self._work = work
        self._max = max_queue
        self._full = False

    def put(self, *message: Any) -> None:
        """Take a message; the one that fills it holds up all further work."""
        with self._work.lock:
            if self.closed:
                return
            self.messages.append(message)
            self._work.notify()
            if len(self.messages) >= self._max and not self._full:
                self._full = True
                self._work.hold()

    def take(self) -> tuple[Any, ...] | None:
        """Return the next message, None if there is none."""
        with self._work.lock:
            message = self.messages.popleft() if self.messages else None
            if self._full and len(self.messages) < self._max:
                self._release()
            return message

    def close(self) -> None:
        """Take no more messages; those that wait may still be taken."""
        if self.registration is not None:
            self.registration.cancel()
        with self._work.lock:
            self.closed = True
            if self._full:
                self._release()
            self._work.notify()

    def _release(self) -> None:
        self._full = False
        self._work.release()


class Messages:
    """What `listen` returns: an iterator of `(event, *args)`. Any threads may take from it, each message goes to one.

    `close`, the end of a `with`, or dropping it ends the listening; so does the end of the renderer, after what waits.

    Args:
        work: Runs listeners while a thread that runs listeners waits here.
        mailbox: Where the messages are put.
        post: Makes a call in another thread.
    """

    __slots__ = ("__weakref__", "_mailbox", "_work")

    def __init__(self, work: Work, mailbox: Mailbox, post: Callable[[Callable[[], None]], None]) -> None:
        self._work = work
        self._mailbox = mailbox
        # A finaliser runs anywhere, maybe while this very thread holds the lock: it only posts.
        weakref.finalize(self, post, mailbox.close).atexit = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Any, ...]:
        mailbox = self._mailbox
        while True:
            message = mailbox.take()
            if message is not None:
                return message
            if mailbox.closed or self._work.is_over:
                raise StopIteration
            self._work.run_until(lambda: mailbox.messages or mailbox.closed or self._work.is_over)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Listen no longer: what waits is still taken."""
        self._mailbox.close()
