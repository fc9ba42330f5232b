"""Does a stream of very many items to a slow consumer need more memory as it goes on? In all three directions.

    python benchmarks/stream_memory.py [--items 1000000] [--slower 10] [--direction between]

A broker, a producer and a consumer are three processes. The consumer first takes items as fast as they come, then so
many times more slowly; the table has the resident memory of each process at steps of the way.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from typing import Any, Final

import mainbus
import uvloop
from alone import end, machine, resident, start, tell, told
from mainbus import Stream
from mainbus_broker import Broker, IpcMain

DIRECTIONS: Final = ("to main", "from main", "between")
STEPS: Final = 10
_FREE_RUN: Final = 10_000


async def items(event: Any, count: int) -> AsyncIterator[dict[str, Any]]:
    """Yield so many small items."""
    for number in range(count):
        yield {"path": "docs/report.txt", "n": number, "tags": ["a", "b"]}


async def take(stream: Stream, pause: float) -> float:
    """Take all items, spending `pause` seconds on each; tells ten times on the way. Returns seconds for each item."""
    began, count = time.perf_counter(), 0
    async for item in stream:
        count = item["n"] + 1
        ahead = began + count * pause - time.perf_counter()
        # Not for each: a loop's clock is too coarse for that.
        if ahead > 0.001:
            await asyncio.sleep(ahead)
        if pause and count % max(1, items_wanted() // STEPS) == 0:
            tell(count)
    return (time.perf_counter() - began) / max(1, count)


def items_wanted() -> int:
    """Return how many items the slow run has."""
    return int(sys.argv[4])


async def consume(ask: Any) -> None:
    """Take items freely, then slowly."""
    freely = await take(ask("items", _FREE_RUN), 0)
    tell("free")
    await take(ask("items", items_wanted()), freely * float(sys.argv[5]))
    tell("done")


async def broker(address: str, direction: str) -> None:
    """Serve; produce or consume, if this is the end that does."""
    ipc_main = IpcMain()
    ipc_main.handle("items", items)
    async with Broker(address, ipc_main=ipc_main) as running:
        tell("ready")
        if direction == "from main":
            while (contents := running.web_contents.from_name("producer")) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            await contents.ready()
            await consume(contents.stream)
        await asyncio.Event().wait()


async def renderer(address: str, role: str, direction: str) -> None:
    """Produce or consume, if this is the end that does."""
    async with mainbus.connect(address, name=role) as ipc_renderer:
        ipc_renderer.handle("items", items, senders="any")
        tell("ready")
        if role == "consumer" and direction == "to main":
            await consume(ipc_renderer.stream)
        elif role == "consumer" and direction == "between":
            await consume(lambda *args: ipc_renderer.stream_to("producer", *args))
        await asyncio.Event().wait()


def measure(direction: str, count: int, slower: float) -> None:
    """Run the three processes and print a line for each step."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/s"
        processes: dict[str, subprocess.Popen[str]] = {}
        try:
            for role in ("broker", "producer", "consumer"):
                processes[role] = start(__file__, role, address, direction, str(count), str(slower))
                told(processes[role])
            taker = processes["broker" if direction == "from main" else "consumer"]
            told(taker)
            print(f"\n{direction}: {count:,} items, {slower:g} times slower than they come; resident KiB")
            print(f"{'taken':>12}" + "".join(f"{role:>12}" for role in processes))
            while (taken := told(taker)) != "done":
                print(f"{taken:>12,}" + "".join(f"{resident(one):>12,}" for one in processes.values()), flush=True)
        finally:
            end(*processes.values())


def main() -> None:
    """Be one of the processes, or run them."""
    if sys.argv[1:2] and sys.argv[1] in ("broker", "producer", "consumer"):
        role, address, direction = sys.argv[1:4]
        uvloop.run(broker(address, direction) if role == "broker" else renderer(address, role, direction))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--slower", type=float, default=10)
    parser.add_argument("--direction", choices=DIRECTIONS)
    options = parser.parse_args()
    print(machine())
    for direction in [options.direction] if options.direction else DIRECTIONS:
        measure(direction, options.items, options.slower)


if __name__ == "__main__":
    main()
