"""The reader thread: a loop of its own that runs one session, and calls that other threads hand to it, in order."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

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
        # Reentrant: a signal handler or a finaliser may post while its own thread does.
        self._lock = threading.RLock()
        self._calls: deque[tuple[Callable[[], None], int]] = deque()
        self._scheduled = False
        self._released = False
        self._ended = False
        self._waiters: set[Waiter] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None]
        self._stop: asyncio.Future[None]
        self._thread: threading.Thread | None = None

    # Public: any thread

    def open(self) -> None:
        """Start the thread and wait until `opening` is done; raise what it raises. Safe to interrupt."""
        if self._thread is not None:
            raise LocalProtocolError("this renderer was opened already; connect() makes another")
        opened = Waiter()
        started = threading.Event()
        self._pid = os.getpid()
        self._ended = False
        # A daemon: a program that forgot to close must be able to end.
        self._thread = threading.Thread(target=self._run, args=(opened, started), name="mainbus reader", daemon=True)
        self._thread.start()
        try:
            started.wait()
            opened.wait()
        except BaseException:
            started.wait()
            self._abort()
            self._thread.join()
            self._thread = self._loop = None
            self._scheduled = False
            raise

    def check(self) -> None:
        """Raise what makes every verb impossible.

        Raises:
            RuntimeError: This process is a fork of the one that opened it.
            LocalProtocolError: It was not opened.
            ObjectDestroyedError: It was closed.
        """
        if self.is_fork:
            raise RuntimeError(
                "this renderer belongs to the process that opened it, and a fork has none of its threads: open another "
                "one there, with mainbus.blocking, or with mainbus.connect and loop.call_soon_threadsafe"
            )
        if self._released:
            raise ObjectDestroyedError(CLOSED)
        if self._thread is None:
            raise LocalProtocolError("not connected yet: use `with` or `open()` on what connect() returned")

    @property
    def is_fork(self) -> bool:
        """Whether this process is a fork of the one that opened it."""
        return self._pid is not None and self._pid != os.getpid()

    def post(self, call: Callable[[], None]) -> None:
        """Have the loop make a call, after all that was posted before. Dropped once the loop has ended."""
        with self._lock:
            if not self._ended:
                self._add(call, 0)

    def post_verb(self, call: Callable[[], None], size: int = 0, room: Callable[[int], None] | None = None) -> None:
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

    def wait(self, start: Callable[[Waiter], None], size: int = 0, room: Callable[[int], None] | None = None) -> Any:
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
        self.post(self._finish)
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return  # from a finaliser that the reader thread ran: it ends by itself
        try:
            thread.join()
        except BaseException:
            self._abort()
            thread.join()
            raise

    # Private: any thread

    def _add(self, call: Callable[[], None], size: int) -> None:
        self._calls.append((call, size))
        self.waiting_bytes += size
        if not self._scheduled and self._loop is not None:
            self._loop.call_soon_threadsafe(self._pump)
            # Afterwards: interrupted in between, the next call wakes the loop once too often, never once too little.
            self._scheduled = True

    def _abort(self) -> None:
        with self._lock:
            if not self._ended and self._loop is not None:
                self._loop.call_soon_threadsafe(self._main.cancel)

    # Private: the reader thread

    def _run(self, opened: Waiter, started: threading.Event) -> None:
        try:
            with asyncio.Runner(loop_factory=new_loop) as runner:
                try:
                    runner.run(self._serve(opened, started))
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
            started.set()
            opened.fail(ObjectDestroyedError(CLOSED))

    async def _serve(self, opened: Waiter, started: threading.Event) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._main = task
        self._stop = loop.create_future()
        self._loop = loop
        self._pump()
        started.set()
        await self._opening()
        opened.succeed(None)
        try:
            await self._stop
        finally:
            await self._closing()

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
    def _start(start: Callable[[Waiter], None], waiter: Waiter) -> None:
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
