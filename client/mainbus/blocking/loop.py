"""The reader thread: a loop of its own that runs one session, and calls that other threads hand to it, in order."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from mainbus.blocking.monitor import SLICE, Monitor
from mainbus.blocking.waiter import Waiter
from mainbus.errors import LocalProtocolError, ObjectDestroyedError

if sys.platform == "win32":
    new_loop = asyncio.new_event_loop
else:
    from uvloop import new_event_loop as new_loop

_TURN: Final = 128
"""Calls made in one turn of the loop, so that threads that send do not keep it from reading."""

CLOSED: Final = "IPC method called after context was released"

log = logging.getLogger("mainbus")


class LoopThread:
    """A loop that runs in a thread of its own.

    Args:
        opening: Opens what the loop is for; the loop ends if it fails.
        closing: Closes it again. It is cancelled if whoever waits for it is interrupted.
    """

    def __init__(self, opening: Callable[[], Awaitable[None]], closing: Callable[[], Awaitable[None]]) -> None:
        self.waiting_bytes = 0
        """Bytes of what was posted and not yet called."""
        self._opening = opening
        self._closing = closing
        self._pid: int | None = None
        self._monitor = Monitor()
        self._lock = self._monitor.lock
        self._calls: deque[tuple[Callable[[], object], int]] = deque()
        self._scheduled = False
        self._released = False
        self._ended = False
        self._waiters: set[Waiter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None]
        self._stop: asyncio.Future[None]
        self._thread: threading.Thread | None = None
        self._done = False
        """Whether the thread has only its last steps before it."""

    # Public: any thread

    def open(self) -> None:
        """Start the thread and wait until `opening` is done; raise what it raises. Safe to interrupt."""
        if self._thread is not None:
            raise LocalProtocolError("this renderer was opened already; connect() makes another")
        opened = Waiter()
        self._pid = os.getpid()
        self._done = self._ended = False
        # A daemon: a program that forgot to close must be able to end.
        self._thread = threading.Thread(target=self._run, args=(opened,), name="mainbus reader", daemon=True)
        try:
            self._thread.start()
            opened.wait()
        except BaseException:
            # An interrupt in start() does not tell whether there is a thread now.
            self._monitor.wait_for(lambda: self._loop is not None or self._done, time.monotonic() + SLICE)
            self._abort()
            self._join()
            self._thread = self._loop = None
            self._scheduled = False
            raise

    def check(self) -> None:
        """Raise if this process is a fork of the one that opened it.

        Raises:
            RuntimeError: It is.
        """
        if self.is_fork:
            raise RuntimeError(
                "this renderer belongs to the process that opened it, and a fork has none of its threads: open another "
                "one there, with mainbus.blocking, or with mainbus.connect and loop.call_soon_threadsafe"
            )

    @property
    def is_fork(self) -> bool:
        """Whether this process is a fork of the one that opened it."""
        return self._pid is not None and self._pid != os.getpid()

    def post(self, call: Callable[[], object]) -> None:
        """Have the loop make a call, after all that was posted before. Dropped once the loop has ended."""
        with self._lock:
            if not self._ended:
                self._add(call, 0)

    def post_verb(self, call: Callable[[], object], size: int = 0, room: Callable[[int], None] | None = None) -> None:
        """As `post`, for what a user asks for.

        Args:
            call: The call; what it raises is logged.
            size: Bytes that it carries.
            room: Called with the bytes that wait to be called; raises if that is too much.

        Raises:
            ObjectDestroyedError: It was closed.
        """
        with self._lock:
            if self._released or self._ended:
                raise ObjectDestroyedError(CLOSED)
            if room is not None:
                room(self.waiting_bytes)
            self._add(call, size)

    def wait(self, start: Callable[[Waiter], object], size: int = 0, room: Callable[[int], None] | None = None) -> Any:
        """Have the loop start something and wait for its outcome. Interrupted, it is cancelled.

        Args:
            start: Called on the loop with the waiter that wants the outcome; what it raises is the outcome.
            size, room: As in `post_verb`.
        """
        waiter = Waiter()
        try:
            with self._lock:
                self.post_verb(partial(self._start, start, waiter), size, room)
                self._waiters.add(waiter)
            return waiter.wait()
        except BaseException:
            if not waiter.done:
                self.post(waiter.give_up)
            raise
        finally:
            self._waiters.discard(waiter)

    def release(self) -> None:
        """Let no verb begin any more; those that were posted are called."""
        with self._lock:
            self._released = True

    def close(self) -> None:
        """Make all calls that were posted, then `closing`, and end the thread. A second call only waits.

        An interrupt cancels `closing`.
        """
        if self._thread is threading.current_thread():
            # A finaliser that the reader thread runs may close, too: then the thread ends by itself.
            self.post(self._finish)
            return
        try:
            self.post(self._finish)
            self._join()
        except BaseException:
            self._abort()
            self._join()
            raise

    # Private: any thread

    def _add(self, call: Callable[[], object], size: int) -> None:
        self._calls.append((call, size))
        self.waiting_bytes += size
        if not self._scheduled and self._loop is not None:
            self._loop.call_soon_threadsafe(self._pump)
            # Afterwards: interrupted in between, the next call wakes the loop once too often, never once too little.
            self._scheduled = True

    def _join(self) -> None:
        # Not join() first: interrupted, it takes a thread that runs for one that has ended.
        self._monitor.wait_for(lambda: self._done or self._loop is None)
        if self._thread is not None and self._done:
            self._thread.join()

    def _abort(self) -> None:
        with self._lock:
            if not self._ended and self._loop is not None:
                self._loop.call_soon_threadsafe(self._cut_short)

    # Private: the reader thread

    def _run(self, opened: Waiter) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                try:
                    runner.run(self._serve(opened))
                finally:
                    # Before the loop is closed: nothing can be posted to it then.
                    with self._lock:
                        self._ended = True
        except (asyncio.CancelledError, KeyboardInterrupt):
            pass  # whoever interrupted it knows
        except Exception as error:
            if not opened.done:
                opened.fail(error)
            else:
                log.exception("the reader thread of a renderer failed")
        finally:
            self._end()
            opened.fail(ObjectDestroyedError(CLOSED))
            with self._lock:
                self._done = True
                self._monitor.notify()

    async def _serve(self, opened: Waiter) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._main = task
        self._stop = loop.create_future()
        with self._lock:
            if self._thread is not threading.current_thread():
                return  # whoever started it was interrupted, and has gone on without it
            self._loop = loop
            self._monitor.notify()
        self._pump()
        await self._opening()
        opened.succeed(None)
        try:
            await self._stop
        finally:
            await self._closing()

    def _cut_short(self) -> None:
        """Cancel the opening or the closing, whichever is under way or about to be."""
        self._finish()
        asyncio.get_running_loop().call_soon(self._main.cancel)

    def _finish(self) -> None:
        if not self._stop.done():
            self._stop.set_result(None)

    def _pump(self) -> None:
        with self._lock:
            self._scheduled = False
            calls = [self._calls.popleft() for _ in range(min(_TURN, len(self._calls)))]
            if self._calls:
                self._scheduled = True
                asyncio.get_running_loop().call_soon(self._pump)
        for call, _ in calls:
            try:
                call()
            except Exception:
                log.exception("a call in the reader thread of a renderer failed")
        with self._lock:
            self.waiting_bytes -= sum(size for _, size in calls)

    @staticmethod
    def _start(start: Callable[[Waiter], object], waiter: Waiter) -> None:
        try:
            start(waiter)
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            waiter.fail(error)

    def _end(self) -> None:
        """Let nobody wait for a loop that does not run any more."""
        with self._lock:
            self._ended = True
            self._calls.clear()
            waiters = list(self._waiters)
        for waiter in waiters:
            waiter.fail(ObjectDestroyedError(CLOSED))
