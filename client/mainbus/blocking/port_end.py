"""One end of a channel in a program of threads: an `End` that any thread may use, and that calls listeners elsewhere.

Every end of the process is under one lock. Who calls something of an end, or of what leads from it to the other one,
holds it; listeners run without it. It is taken before the locks of `Work` and `LoopThread`, never behind them, so a
finaliser, which may run while its thread has one of those, only notes what it has to say.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from mainbus.blocking.monitor import Monitor
from mainbus.blocking.waiter import Waiter
from mainbus.blocking.work import Job
from mainbus.errors import BadMessage, LimitExceeded
from mainbus.port_end import End, Posted
from mainbus.wire import clone

if TYPE_CHECKING:
    from mainbus.blocking.loop import LoopThread
    from mainbus.blocking.ports import MessagePort
    from mainbus.blocking.work import Work
    from mainbus.port_loop import PortLoop
    from mainbus.ports import MessagePort as AsyncPort

LOCK: Final = threading.RLock()

_dropped: Final[deque[BlockingEnd]] = deque()
"""Ends whose handles are gone."""


class Home:
    """Where the listeners of ports run: with those of a renderer, or nowhere yet.

    Args:
        make: Makes the handle of an end.
        loop: The reader thread of the renderer, if there is one.
        work: Where that renderer's listeners run.
    """

    __slots__ = ("handle", "loop", "work")

    def __init__(
        self, make: Callable[[BlockingEnd], MessagePort], loop: LoopThread | None = None, work: Work | None = None
    ) -> None:
        self.handle = make
        self.loop = loop
        self.work = work

    def new_end(self) -> BlockingEnd:
        """Make an end of a channel."""
        return BlockingEnd(self)


class BlockingEnd(End):
    """One end of a channel; `LOCK` is held while anything of it is called, but for what waits or runs listeners."""

    __slots__ = ("_changes", "_job", "_running", "_waiters")

    def __init__(self, home: Home) -> None:
        # To everything that both kinds of ends share, the same: it makes ends and their handles.
        super().__init__(cast("PortLoop", home))
        self._changes = Monitor()
        self._changes.lock = LOCK
        self._waiters: list[tuple[Waiter, Work]] = []
        """Those who run other listeners while they wait, and what they run."""
        self._job: object = None
        """What has been asked to call the next listeners; None if nothing has."""
        self._running: list[Posted] = []
        """The messages whose listeners have not ended, and which were not counted out."""

    # Public: with the lock held

    @property
    def home(self) -> Home:
        """Where its listeners run."""
        return cast(Home, self.loop)

    def settle(self, home: Home) -> None:
        """Run the listeners there from now on."""
        self.loop = cast("PortLoop", home)
        self._job = None
        self.schedule()

    def own(self, handle: AsyncPort) -> None:
        """Take a handle. Else as `End`."""
        super().own(handle)
        self._job = None

    def detach(self) -> None:
        """Take the end from its handle. What its listeners still run for counts as taken: later is too late."""
        super().detach()
        running, self._running = self._running, []
        for posted in running:
            self.taken(posted)

    def pull(self) -> Posted | None:
        """Return the next message for an iteration, to be read by `read`; None if there is none."""
        if not self.queue:
            return None
        posted = self.queue.popleft()
        self.taken(posted)
        return posted

    def schedule(self) -> None:
        """Have the next listeners called where they run, and those who wait look again."""
        self.wake()
        if self.pulled and (self.is_shut or self.is_over):
            # The rest waits for an iteration: if nobody has the port any more, it waits for nothing.
            self._kept = None
        work = self.home.work
        if work is None or self._job is not None or not self.started or self.moving or not self._is_due:
            return
        handle = self._handle() if self._handle is not None else None
        if handle is not None:
            self._job = job = object()
            work.put(Job(partial(self._call, job, cast("MessagePort", handle))))

    def wake(self) -> None:
        """Let all that wait look again."""
        self._changes.notify()
        waiters, self._waiters = self._waiters, []
        for waiter, work in waiters:
            waiter.succeed(None)
            work.notify()

    # Public: without the lock

    def wait_for(self, done: Callable[[], object], deadline: float = math.inf) -> bool:
        """Wait until `done()`, asked with the lock held; in a thread that runs listeners they are run meanwhile.

        Args:
            done: Asked at once, and whenever anything has changed.
            deadline: When to give up and return False, in seconds on the monotonic clock.

        Raises:
            ObjectDestroyedError: This thread runs listeners, and their renderer was closed.
        """
        while not self._wait_once(self.home, done, deadline):
            if time.monotonic() >= deadline:
                return False
        return True

    def read(self, posted: Posted) -> tuple[object, list[MessagePort]] | None:
        """Return a message, decoded; None if it is a bad one: the channel is closed then."""
        body, ports, _ = posted
        try:
            return clone.decode(body), cast("list[MessagePort]", ports)
        except (BadMessage, LimitExceeded) as fault:
            with LOCK:
                self.spoilt(fault)
            return None

    # Private

    def _wait_once(self, home: Home, done: Callable[[], object], deadline: float) -> bool:
        """Wait until it is `done()`, or until anything has changed that may make this thread wait otherwise."""
        if home.work is None or not home.work.runs_here:
            self._changes.wait_for(lambda: _look(done) or self.home is not home, deadline)
        else:
            waiter = Waiter()
            with LOCK:
                if not done():
                    self._waiters.append((waiter, home.work))
                else:
                    waiter.succeed(None)
            try:
                home.work.run_until(lambda: waiter.done, deadline)
            finally:
                with LOCK:
                    self._waiters = [each for each in self._waiters if each[0] is not waiter]
        with LOCK:
            return bool(done())

    @property
    def _is_due(self) -> bool:
        if self.queue:
            return not self.pulled
        return (self.is_shut or self.is_over) and not self.finished

    def _call(self, job: object, handle: MessagePort) -> None:
        """Call the listeners of one message, or of the end; where listeners run, without the lock."""
        with LOCK:
            if self._job is not job:
                return
            self._job = None
            if self.moving:
                return
            posted = self.queue.popleft() if self.queue and not self.pulled else None
            if posted is not None:
                self._running.append(posted)
            ended = posted is None and self.finish()
            if ended:
                self._kept = None
            # Now, not when they have ended: a listener may wait for what comes behind its message.
            self.schedule()
        if posted is not None:
            self._deliver(handle, posted)
        elif ended:
            handle.closed()

    def _deliver(self, handle: MessagePort, posted: Posted) -> None:
        try:
            message = self.read(posted)
            if message is not None:
                handle.deliver(*message)
        finally:
            with LOCK:
                # By identity: messages may be equal, and large.
                left = [each for each in self._running if each is not posted]
                if len(left) < len(self._running):
                    self._running = left
                    self.taken(posted)


def drop(end: BlockingEnd) -> None:
    """Close an end whose handle is gone. A finaliser calls it, in any thread: it takes no lock of ports."""
    _dropped.append(end)
    loop = end.home.loop
    # Without a renderer only a thread that iterates can notice the end, and such a thread looks itself.
    if loop is not None:
        loop.post(_close_dropped)


def _look(done: Callable[[], object]) -> object:
    _close_dropped()
    return done()


def _close_dropped() -> None:
    with LOCK:
        while _dropped:
            _dropped.popleft().dropped()


if hasattr(os, "register_at_fork"):
    # In a child, no other thread is there to release it.
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)
