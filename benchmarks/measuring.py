"""The loops that measure, for clients with an event loop and for blocking ones; each tells its figures."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from time import perf_counter_ns, process_time_ns
from typing import Any, Final

from common import END, PAYLOAD, Order, tell, told_to_go, wait_to_be_told
from peers.base import BlockingClient, Client

WINDOW: Final = 64
"""Requests in flight."""

BURST: Final = 256
"""One-way messages between two looks at whether the way is free."""

DOORS: Final = 32
"""Connections that are being made at a time."""

LEAST: Final = 5
"""Calls that are measured however long they take."""

_WARM_UP: Final = 0.2
"""Part of the time that is spent before anything counts."""


async def drive(client: Client, order: Order) -> None:
    """Measure what is ordered, one after the other, each when the parent says so."""
    for workload in order.workloads:
        kind, _, size = workload.partition(":")
        await told_to_go()
        if kind == "latency":
            tell(**await latency(lambda: client.call(PAYLOAD), order.seconds))
        elif kind == "in-flight":
            tell(**await _in_flight(lambda: client.call(PAYLOAD), order.seconds))
        elif kind == "payload":
            tell(**await _echo(client, int(size), order.seconds))
        else:
            await _one_way(client.send if kind == "one-way" else client.publish, client, order.seconds)


async def _echo(client: Client, size: int, seconds: float) -> dict[str, float]:
    data = await client.prepare(size)
    return _bandwidth(await latency(lambda: client.call(data), seconds), size)


async def latency(call: Callable[[], Awaitable[object]], seconds: float) -> dict[str, float]:
    """Return p50 and p99, in microseconds, of one call after the other, and how many were made."""
    warm = 0
    end = perf_counter_ns() + int(seconds * _WARM_UP * 1e9)
    while perf_counter_ns() < end or not warm:
        await call()
        warm += 1
    times: list[int] = []
    before = perf_counter_ns()
    end = before + int(seconds * 1e9)
    while before < end or len(times) < LEAST:
        await call()
        after = perf_counter_ns()
        times.append(after - before)
        before = after
    return {**percentiles(times), "messages": warm + len(times)}


async def _in_flight(call: Callable[[], Awaitable[object]], seconds: float) -> dict[str, float]:
    """Return answers a second with `WINDOW` requests always under way."""
    count = 0
    end = 0

    async def one_after_the_other() -> None:
        nonlocal count
        while perf_counter_ns() < end:
            await call()
            count += 1

    async def window(seconds: float) -> float:
        nonlocal end
        before = count
        start = perf_counter_ns()
        end = start + int(seconds * 1e9)
        await asyncio.gather(*(one_after_the_other() for _ in range(WINDOW)))
        return (count - before) / (perf_counter_ns() - start) * 1e9

    await window(seconds * _WARM_UP)
    return {"rate": await window(seconds), "messages": count}


async def _one_way(send: Callable[[Any, int], Awaitable[None]], client: Client, seconds: float) -> None:
    start = perf_counter_ns()
    end = start + int(seconds * 1e9)
    while perf_counter_ns() < end:
        await send(PAYLOAD, BURST)
    await send(END, 1)
    await client.flush()
    tell(start=start)


async def connect(connect: Callable[[], Awaitable[Client]], count: int) -> list[Client]:
    """Make so many connections, `DOORS` at a time; tell how long that took."""
    clients: list[Client] = []

    async def one_after_the_other(share: int) -> None:
        for _ in range(share):
            clients.append(await connect())

    # What the imports have left would be looked through amid the connections, or not, as chance has it.
    gc.collect()
    start, used = perf_counter_ns(), process_time_ns()
    await asyncio.gather(*(one_after_the_other(len(range(door, count, DOORS))) for door in range(DOORS)))
    now = perf_counter_ns()
    tell(pid=os.getpid(), start=start, end=now, cpu=(process_time_ns() - used) / 1e3)
    return clients


# The same for blocking clients.


def drive_blocking(client: BlockingClient, order: Order) -> None:
    """Measure what is ordered, one after the other, each when the parent says so."""
    for workload in order.workloads:
        kind, _, size = workload.partition(":")
        wait_to_be_told()
        if kind == "latency":
            tell(**_latency_blocking(client, PAYLOAD, order.seconds))
        elif kind == "in-flight":
            tell(**_in_flight_blocking(client, order.seconds))
        elif kind == "payload":
            data = client.prepare(int(size))
            tell(**_bandwidth(_latency_blocking(client, data, order.seconds), int(size)))
        else:
            _one_way_blocking(client.send if kind == "one-way" else client.publish, client, order.seconds)


def _latency_blocking(client: BlockingClient, value: object, seconds: float) -> dict[str, float]:
    call = client.call
    warm = 0
    end = perf_counter_ns() + int(seconds * _WARM_UP * 1e9)
    while perf_counter_ns() < end or not warm:
        call(value)
        warm += 1
    times: list[int] = []
    before = perf_counter_ns()
    end = before + int(seconds * 1e9)
    while before < end or len(times) < LEAST:
        call(value)
        after = perf_counter_ns()
        times.append(after - before)
        before = after
    return {**percentiles(times), "messages": warm + len(times)}


def _in_flight_blocking(client: BlockingClient, seconds: float) -> dict[str, float]:
    ask, reply = client.ask, client.reply
    messages = 0

    def window(seconds: float) -> float:
        nonlocal messages
        for _ in range(WINDOW):
            ask(PAYLOAD)
        count = 0
        start = perf_counter_ns()
        end = start + int(seconds * 1e9)
        while perf_counter_ns() < end:
            reply()
            ask(PAYLOAD)
            count += 1
        rate = count / (perf_counter_ns() - start) * 1e9
        for _ in range(WINDOW):
            reply()
        messages += count + WINDOW
        return rate

    window(seconds * _WARM_UP)
    return {"rate": window(seconds), "messages": messages}


def _one_way_blocking(send: Callable[[Any, int], None], client: BlockingClient, seconds: float) -> None:
    start = perf_counter_ns()
    end = start + int(seconds * 1e9)
    while perf_counter_ns() < end:
        send(PAYLOAD, BURST)
    send(END, 1)
    client.flush()
    tell(start=start)


def percentiles(times: list[int]) -> dict[str, float]:
    """Return median and 99th percentile in microseconds, of nanoseconds."""
    times.sort()
    return {"p50": times[len(times) // 2] / 1e3, "p99": times[len(times) * 99 // 100] / 1e3}


def _bandwidth(figures: dict[str, float], size: int) -> dict[str, float]:
    """Add MiB a second, both ways together, of one echo after the other."""
    return {**figures, "mib_s": 2 * size / figures["p50"] * 1e6 / (1 << 20)}
