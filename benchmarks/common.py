"""What every measured process shares: the payload, its order, what it tells, how it starts and ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from time import perf_counter_ns
from typing import Any, Final

PAYLOAD: Final[dict[str, Any]] = {"path": "docs/report.txt", "n": 42, "tags": ["a", "b"]}
"""What crosses: cloned to bytes at one end, back to a dict at the other."""

DESCRIPTORS: Final = 16384
"""Open files of one process."""

END: Final[dict[str, Any]] = {}
"""The one-way message after the last; it is false, so that a sink tells it apart at little cost."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What one process is to do."""

    role: str
    path: str
    """The socket."""
    workloads: tuple[str, ...] = ()
    """What is measured, one after the other: "latency", "in-flight", "one-way", "broadcast" or "payload:BYTES"."""
    seconds: float = 1.0
    """How long each is measured."""
    loop: str = "uvloop"
    """"uvloop" or "asyncio"."""
    cpu: int | None = None
    """The one CPU to run on, or None for any."""
    count: int = 1
    """How many connections it makes."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        fields = json.loads(text)
        return cls(**{**fields, "workloads": tuple(fields["workloads"])})


Role = Callable[[Order], Coroutine[Any, Any, None] | None]

_may_go: Final = threading.Semaphore(0)
_at_end: Final[list[Callable[[], object]]] = []


def main(roles: dict[str, Role]) -> None:
    """Run the role that the last argument orders; end with standard input, however the parent ends."""
    order = Order.from_json(sys.argv[-1])
    if order.cpu is not None:
        os.sched_setaffinity(0, {order.cpu})
    _make_room_for_descriptors()
    threading.Thread(target=_follow_stdin, daemon=True).start()
    work = roles[order.role](order)
    if work is not None:
        with asyncio.Runner(loop_factory=loop_factory(order.loop)) as runner:
            runner.run(work)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def at_end(call: Callable[[], object]) -> None:
    """Have something called when this process ends as it should."""
    _at_end.append(call)


async def told_to_go() -> None:
    """Wait for the parent's next line."""
    await asyncio.to_thread(_may_go.acquire)


def wait_to_be_told() -> None:
    """Wait for the parent's next line, without an event loop."""
    _may_go.acquire()


def tell(**result: object) -> None:
    """Tell the parent something."""
    print(json.dumps(result), flush=True)


def ready(pid: int | None = None) -> None:
    """Tell the parent that the next process may start.

    Args:
        pid: The process whose memory and CPU time count, if it is not this one.
    """
    tell(pid=pid or os.getpid())


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


class Sink:
    """Counts one-way messages and tells, when the last has come, how many there were and when that was.

    Args:
        sources: How many connections the messages come on, each with a last one.
    """

    def __init__(self, sources: int = 1) -> None:
        self._count = 0
        self._sources = sources
        self._ended = 0

    def take(self, value: object) -> None:
        if value:
            self._count += 1
        else:
            self._end()

    def add(self, count: int) -> None:
        """Count messages that nobody looks at."""
        self._count += count

    def _end(self) -> None:
        self._ended += 1
        if self._ended == self._sources:
            count, self._count, self._ended = self._count, 0, 0
            tell(messages=count, end=perf_counter_ns())


def _make_room_for_descriptors() -> None:
    """Have the system make this process' table of descriptors as large as it may become.

    It doubles when it is full, and Linux stops a process with threads, as all of these are, for a grace period of RCU
    each time: half the time of a thousand connections would be that.
    """
    if sys.platform == "win32":
        return
    import fcntl
    import resource

    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, min(most, DESCRIPTORS) - 1))


def _follow_stdin() -> None:
    for _ in sys.stdin:
        _may_go.release()
    for call in _at_end:
        call()
    os._exit(0)
