"""What every measured process shares: the payload, its orders, the loops that measure, how it starts and ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict, dataclass
from time import perf_counter_ns
from typing import Any, Final

PAYLOAD: Final[dict[str, object]] = {"path": "docs/report.txt", "n": 42, "tags": ["a", "b"]}
"""What crosses: cloned to bytes at one end, back to a dict at the other."""

RAW: Final = bytes(64)
"""What crosses on a floor: a message without framing or codec."""

WINDOW: Final = 64
"""Requests in flight."""

BURST: Final = 256
"""One-way messages between two looks at whether the way is free."""

_WARM_UP: Final = 0.2
"""Part of the time that is spent before anything counts."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What one process is to do."""

    role: str
    workload: str
    """"latency", "in-flight" or "one-way"."""
    path: str
    """The socket."""
    seconds: float
    loop: str
    """"uvloop" or "asyncio"."""
    cpu: int | None
    """The one CPU to run on, or None for any."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


Role = Callable[[Order], Coroutine[Any, Any, None] | None]


def main(roles: dict[str, Role]) -> None:
    """Run the role that the command line orders; end with standard input, however the parent ends."""
    order = Order(**json.loads(sys.argv[1]))
    if order.cpu is not None:
        os.sched_setaffinity(0, {order.cpu})
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    work = roles[order.role](order)
    if work is not None:
        with asyncio.Runner(loop_factory=loop_factory(order.loop)) as runner:
            runner.run(work)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


def tell(**result: object) -> None:
    """Tell the parent something."""
    print(json.dumps(result), flush=True)


def ready() -> None:
    """Tell the parent that the next process may start."""
    tell(ready=True)


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


def _end_with_stdin() -> None:
    sys.stdin.read()
    os._exit(0)


# Loops that measure, for clients with an event loop.


async def drive(
    order: Order,
    call: Callable[[], Awaitable[object]],
    send: Callable[[], object],
    flush: Callable[[], Awaitable[object]],
) -> None:
    """Measure what is ordered.

    Args:
        order: The workload and its time.
        call: Makes one request and returns its answer.
        send: Sends one one-way message.
        flush: Returns when more may be sent.
    """
    if order.workload == "latency":
        tell(**await _latency(call, order.seconds))
    elif order.workload == "in-flight":
        await _in_flight(call, order.seconds * _WARM_UP)
        tell(rate=await _in_flight(call, order.seconds))
    else:
        start = perf_counter_ns()
        end = start + int(order.seconds * 1e9)
        while perf_counter_ns() < end:
            for _ in range(BURST):
                send()
            await flush()
        tell(start=start)


async def _latency(call: Callable[[], Awaitable[object]], seconds: float) -> dict[str, float]:
    end = perf_counter_ns() + int(seconds * _WARM_UP * 1e9)
    while perf_counter_ns() < end:
        await call()
    times = []
    before = perf_counter_ns()
    end = before + int(seconds * 1e9)
    while before < end:
        await call()
        after = perf_counter_ns()
        times.append(after - before)
        before = after
    return percentiles(times)


async def _in_flight(call: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Return answers a second with `WINDOW` requests always under way."""
    count = 0
    start = perf_counter_ns()
    end = start + int(seconds * 1e9)

    async def one_after_the_other() -> None:
        nonlocal count
        while perf_counter_ns() < end:
            await call()
            count += 1

    await asyncio.gather(*(one_after_the_other() for _ in range(WINDOW)))
    return count / (perf_counter_ns() - start) * 1e9


# The same for blocking clients.


def drive_blocking(
    order: Order, call: Callable[[], object], send: Callable[[], object], receive: Callable[[], object]
) -> None:
    """Measure what is ordered.

    Args:
        order: The workload and its time.
        call: Makes one request and returns its answer.
        send: Sends one message, which is answered where the workload is "in-flight".
        receive: Waits for one answer.
    """
    if order.workload == "latency":
        tell(**_latency_blocking(call, order.seconds))
    elif order.workload == "in-flight":
        _in_flight_blocking(send, receive, order.seconds * _WARM_UP)
        tell(rate=_in_flight_blocking(send, receive, order.seconds))
    else:
        start = perf_counter_ns()
        end = start + int(order.seconds * 1e9)
        while perf_counter_ns() < end:
            for _ in range(BURST):
                send()
        tell(start=start)


def _latency_blocking(call: Callable[[], object], seconds: float) -> dict[str, float]:
    end = perf_counter_ns() + int(seconds * _WARM_UP * 1e9)
    while perf_counter_ns() < end:
        call()
    times = []
    before = perf_counter_ns()
    end = before + int(seconds * 1e9)
    while before < end:
        call()
        after = perf_counter_ns()
        times.append(after - before)
        before = after
    return percentiles(times)


def _in_flight_blocking(send: Callable[[], object], receive: Callable[[], object], seconds: float) -> float:
    for _ in range(WINDOW):
        send()
    count = 0
    start = perf_counter_ns()
    end = start + int(seconds * 1e9)
    while perf_counter_ns() < end:
        receive()
        send()
        count += 1
    rate = count / (perf_counter_ns() - start) * 1e9
    for _ in range(WINDOW):
        receive()
    return rate


class Sink:
    """Counts one-way messages and tells, when the last has come, how many there were and when that was."""

    def __init__(self) -> None:
        self.count = 0

    def hit(self, *_: object) -> None:
        self.count += 1

    def end(self, *_: object) -> None:
        tell(count=self.count, end=perf_counter_ns())


def percentiles(times: list[int]) -> dict[str, float]:
    """Return median and 99th percentile in microseconds, of nanoseconds."""
    times.sort()
    return {"p50": times[len(times) // 2] / 1e3, "p99": times[len(times) * 99 // 100] / 1e3}
