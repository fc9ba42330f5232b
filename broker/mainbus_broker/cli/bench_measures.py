"""What `mainbus bench` measures, from the renderer that it is itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import mainbus
from mainbus import IpcRenderer

from mainbus_broker.cli.bench_ends import COUNT, ECHO, MESSAGE, NAME, PATIENCE

_PAYLOAD: Final = {"path": "docs/report.txt", "n": 42, "tags": ["a", "b"]}
_WINDOW: Final = 64
"""Invokes under way."""
_BURST: Final = 256
"""One-way messages between two looks at whether the way is free."""

MEASURES: Final = ("latency", "invokes", "messages")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was measured with one target; times in seconds, rates a second."""

    target: str
    median: float
    p99: float
    invokes: float
    messages: float

    def as_dict(self) -> dict[str, object]:
        """Return it as programs get it: times in microseconds."""
        return {
            "target": self.target,
            "invoke_median_us": round(self.median * 1e6, 1),
            "invoke_p99_us": round(self.p99 * 1e6, 1),
            "invokes_per_second": round(self.invokes),
            "messages_per_second": round(self.messages),
        }


async def measure(address: str, seconds: float, warm_up: float) -> tuple[list[Result], dict[str, Any]]:
    """Measure the main process and another renderer; returns the results, and what the broker tells of itself.

    Args:
        address: Where the broker of `Ends` is.
        seconds: How long each measurement takes.
        warm_up: Seconds before each that do not count.
    """
    async with mainbus.connect(address, connect_timeout=PATIENCE, reconnect=False) as ipc_renderer:
        to_main = await _target(ipc_renderer, "main", 0, seconds, warm_up)
        to_renderer = await _target(ipc_renderer, "renderer", NAME, seconds, warm_up)
        return [to_main, to_renderer], await ipc_renderer.status()


async def _target(ipc_renderer: IpcRenderer, label: str, target: int | str, seconds: float, warm_up: float) -> Result:
    def invoke() -> Awaitable[object]:
        return ipc_renderer.invoke_to(target, ECHO, _PAYLOAD)

    await _latency(invoke, warm_up)
    times = await _latency(invoke, seconds)
    await _in_flight(invoke, warm_up)
    invokes = await _in_flight(invoke, seconds)
    await _one_way(ipc_renderer, target, warm_up)
    messages = await _one_way(ipc_renderer, target, seconds)
    return Result(
        target=label,
        median=times[len(times) // 2],
        p99=times[len(times) * 99 // 100],
        invokes=invokes,
        messages=messages,
    )


async def _latency(invoke: Callable[[], Awaitable[object]], seconds: float) -> list[float]:
    """Return how long invokes took, one after the other; sorted."""
    times = []
    end = perf_counter() + seconds
    before = after = 0.0
    while after < end:
        before = perf_counter()
        await invoke()
        after = perf_counter()
        times.append(after - before)
    return sorted(times)


async def _in_flight(invoke: Callable[[], Awaitable[object]], seconds: float) -> float:
    """Return answers a second with `_WINDOW` invokes under way all the time."""
    count = 0
    start = perf_counter()

    async def one_after_the_other() -> None:
        nonlocal count
        while perf_counter() - start < seconds:
            await invoke()
            count += 1

    await asyncio.gather(*(one_after_the_other() for _ in range(_WINDOW)))
    return count / (perf_counter() - start)


async def _one_way(ipc_renderer: IpcRenderer, target: int | str, seconds: float) -> float:
    """Return one-way messages that arrived a second."""
    before: Any = await ipc_renderer.invoke_to(target, COUNT)
    start = perf_counter()
    while perf_counter() - start < seconds:
        for _ in range(_BURST):
            ipc_renderer.send_to(target, MESSAGE, _PAYLOAD)
        await ipc_renderer.drain(target)
    # In order: when it is answered, all of them have arrived.
    after: Any = await ipc_renderer.invoke_to(target, COUNT)
    return float(after - before) / (perf_counter() - start)
