"""What has arrived and waits for the thread that runs listeners: one queue, in order.

The reader thread adds; a thread of ours runs it, or, if it is polled, the thread of the user that opened the renderer.
A thread that runs listeners may itself wait for messages: then it goes on running what arrives, one level deeper.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

from mainbus.blocking.monitor import Monitor
from mainbus.errors import LocalProtocolError, ObjectDestroyedError

HIGH: Final = 1024 * 1024
LOW: Final = 256 * 1024
"""Bytes of one sender that may wait here before it is asked to pause, and to go on."""

JOIN_TIMEOUT: Final = 5.0
"""Seconds that a listener has to end when its renderer is closed."""

log = logging.getLogger("mainbus")


class Job(NamedTuple):
    """One arrival that waits."""

    run: Callable[[], object]
    peer: int = -1
    size: int = 0
    on_low: Callable[[int], None] | None = None
    """Called with the peer when it was to pause, and little of it waits any more."""


class Work(Monitor):
    """The queue, and who runs it.

    Args:
        polled: Whether the thread that calls `start` runs it, in `poll`; else a thread of its own does.
    """

    def __init__(self, polled: bool) -> None:
        super().__init__()
        self.polled = polled
        self.paused: set[int] = set()
        """Senders that were asked to pause."""
        self.running = 0
        """Arrivals under way; more than one when a listener waits for messages."""
        self._jobs: deque[Job] = deque()
        self._sizes: dict[int, int] = {}
        self._holds = 0
        self._ended = False
        self._closed = False
        self._runner = -1
        self._thread: threading.Thread | None = None
        self._bell: _Bell | None = None

    # Public: the reader thread

    def put(self, job: Job) -> bool:
        """Add an arrival; returns whether its sender must pause now."""
        with self.lock:
            if self._closed:
                return False
            self._jobs.append(job)
            total = self._sizes[job.peer] = self._sizes.get(job.peer, 0) + job.size
            self._look()
            if total <= HIGH or job.peer in self.paused:
                return False
            self.paused.add(job.peer)
            return True

    # Public: any thread

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def runs_here(self) -> bool:
        """Whether this thread is the one that runs listeners."""
        return threading.get_ident() == self._runner

    @property
    def is_over(self) -> bool:
        """Whether no listener will be called any more but by a listener that waits in this very thread."""
        return self._ended and not self._jobs and (not self.running or self.runs_here)

    def start(self) -> None:
        """Begin to run what arrives, or let this thread poll for it."""
        if self.polled:
            self._bell = _Bell()
            self._runner = threading.get_ident()
        else:
            self._thread = threading.Thread(target=self._serve, name="mainbus listeners", daemon=True)
            self._thread.start()
        with self.lock:
            self._look()

    def poll(self, timeout: float | None) -> int:
        """Run what waits, and wait for it up to `timeout` seconds (None: for ever); returns how many were run."""
        self._check_poller()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        self.wait_for(lambda: self._ready or self._ended or self._closed, deadline)
        with self.lock:
            self._check_open()
            # What arrives meanwhile is for the next time: an endless stream must not hold up the caller.
            count = len(self._jobs)
        done = 0
        while done < count and self._run_next():
            done += 1
        return done

    def fileno(self) -> int:
        """Return the descriptor that is readable while there is work."""
        self._check_poller(any_thread=True)
        self._check_open()
        assert self._bell is not None
        return self._bell.fileno()

    def run_until(self, done: Callable[[], object], deadline: float = math.inf) -> bool:
        """Wait until `done()`, asked as by `wait_for`; False once `deadline` has passed.

        In a thread that runs listeners it runs what arrives meanwhile.

        Raises:
            ObjectDestroyedError: Everything was closed.
        """
        runs = self.runs_here
        while True:
            self.wait_for(lambda: done() or self._closed or (runs and self._ready), deadline)
            with self.lock:
                if done():
                    return True
                self._check_open()
            if not (runs and self._run_next()) and time.monotonic() >= deadline:
                return False

    def hold(self) -> None:
        """Run nothing until `release`: somebody has as much as it can keep."""
        with self.lock:
            self._holds += 1
            self._look()

    def release(self) -> None:
        """Undo one `hold`."""
        with self.lock:
            self._holds -= 1
            self._look()

    def end(self) -> None:
        """Wait for nothing more: no message will arrive. What waits is still run."""
        with self.lock:
            self._ended = True
            self.notify()

    def close(self) -> None:
        """Run nothing more, and wake all that wait."""
        with self.lock:
            if self._closed:
                return
            self._closed = True
            self._jobs.clear()
            self._sizes.clear()
            self._look()
            self.notify()
            if self._bell is not None:
                self._bell.close()

    def join(self) -> None:
        """Wait until a listener that runs has ended, for some seconds. Its own thread does not wait."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(JOIN_TIMEOUT)
            if self._thread.is_alive():
                log.warning("a listener still runs %g s after its renderer was closed", JOIN_TIMEOUT)

    # Private

    @property
    def _ready(self) -> bool:
        return bool(self._jobs) and not self._holds

    def _look(self) -> None:
        """Make what others see of the queue true; with the lock held."""
        if self._bell is not None and not self._closed:
            self._bell.set(self._ready)
        if self._ready:
            self.notify()

    def _run_next(self) -> bool:
        job = self._take()
        if job is None:
            return False
        try:
            job.run()
        finally:
            with self.lock:
                self.running -= 1
                if self._ended:
                    self.notify()
        return True

    def _take(self) -> Job | None:
        with self.lock:
            if not self._ready or self._closed:
                return None
            job = self._jobs.popleft()
            self.running += 1
            left = self._sizes.pop(job.peer, 0) - job.size
            if left:
                self._sizes[job.peer] = left
            resume = left < LOW and job.peer in self.paused
            if resume:
                self.paused.discard(job.peer)
            self._look()
        if resume and job.on_low is not None:
            job.on_low(job.peer)
        return job

    def _serve(self) -> None:
        self._runner = threading.get_ident()
        while not self._closed:
            try:
                self.run_until(lambda: False)
            except ObjectDestroyedError:
                log.debug("the listeners' thread ends")
            except BaseException:
                # SystemExit too: one listener must not end the thread that all the others need.
                log.exception("a listener failed")

    def _check_open(self) -> None:
        if self._closed:
            raise ObjectDestroyedError("IPC method called after context was released")

    def _check_poller(self, *, any_thread: bool = False) -> None:
        if not self.polled:
            raise LocalProtocolError("listeners run in a thread of their own; poll() needs connect(..., poll=True)")
        if not any_thread and threading.get_ident() != self._runner:
            raise LocalProtocolError("the thread that opened this renderer polls for it, and no other one")


class _Bell:
    """A descriptor that is readable or not. A pair of sockets, which every system's select() takes."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        # Nobody waits here: one who is interrupted between a byte and its note of it must not wait for another.
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._rung = False

    def fileno(self) -> int:
        return self._reader.fileno()

    def set(self, rung: bool) -> None:
        with suppress(BlockingIOError):
            if rung and not self._rung:
                self._writer.send(b"!")
            elif self._rung and not rung:
                self._reader.recv(64)
        self._rung = rung

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
