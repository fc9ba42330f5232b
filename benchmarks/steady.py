"""Does a bus at full speed need more memory as it goes on? Requests, one-way messages and large ones at once.

    python benchmarks/steady.py [--seconds 300] [--samples 30] [--within 5]

A daemon and two renderers are three processes. One renderer keeps 64 invokes of the other one in flight (W2), sends it
one-way messages as fast as it takes them (W3), and has large byte strings echoed, through a pool of shared memory each
way. The time is divided into five parts, minutes unless told otherwise, in each of which everybody is looked at so many
times; the table has the medians: resident memory, the memory of the pools, and what is under way in them. It fails if
the last part is more than so many percent off the second one, or if anything is under way once all is answered.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import mainbus
import uvloop
from alone import PATIENCE, end, machine, prepare, resident, start, start_daemon, tell, told
from common import PAYLOAD
from mainbus import IpcRenderer
from mainbus_broker import Broker

PARTS: Final = 5
IN_FLIGHT: Final = 64
INVOKES: Final = 64 * 50
ONE_WAY: Final = 8192
SIZES: Final = (256 * 1024, 1024 * 1024, 4 * 1024 * 1024) * 4
"""What one round has of each; the last are bytes, one after the other."""

WHOLE: Final = ("daemon", "there", "here", "pools")
"""What must not grow: the memory of each process, and that of the pools."""

UNDER_WAY: Final = "under way"
RATES: Final = ("invokes", "one-way", "large")

Sample = dict[str, float]


# The processes.


def setup(broker: Broker) -> None:
    """Be the main process: what `mainbus serve steady:setup` runs."""
    prepare()
    broker.ipc_main.handle("stats", lambda event: broker.stats())


async def there(address: str) -> None:
    """Be the renderer that answers."""
    async with mainbus.connect(address, name="there", connect_timeout=PATIENCE) as ipc_renderer:
        ipc_renderer.on("one-way", lambda event, value: None, senders="renderers")
        ipc_renderer.handle("echo", lambda event, value: value, senders="renderers")
        ipc_renderer.handle("stats", lambda event: ipc_renderer.stats(), senders="renderers")
        tell("ready")
        await asyncio.Event().wait()


class Here:
    """The renderer that asks.

    Args:
        ipc_renderer: Its renderer.
    """

    def __init__(self, ipc_renderer: IpcRenderer) -> None:
        self._renderer = ipc_renderer
        self._over = False
        self._counts = dict.fromkeys(RATES, 0)

    async def run(self, seconds: float, looks: int) -> None:
        """Ask, and tell so many times how much that was and what everybody holds; then once more, at rest."""
        asking = asyncio.create_task(self._ask())
        began = time.monotonic()
        for number in range(looks):
            await asyncio.sleep(began + number * seconds / looks - time.monotonic())
            tell(await self._look())
        self._over = True
        await asking
        # Behind it nothing is under way to there, or from there.
        await self._renderer.invoke_to("there", "echo", None)
        tell(await self._look())

    async def _look(self) -> dict[str, Any]:
        stats = {
            "daemon": await self._renderer.invoke("stats"),
            "there": await self._renderer.invoke_to("there", "stats"),
            "here": self._renderer.stats(),
        }
        return {"at": time.monotonic(), **self._counts, "stats": stats}

    async def _ask(self) -> None:
        """Do all at once, in rounds: else what returns at once would leave little room to what waits for an answer."""
        while not self._over:
            asking = (self._invoke(INVOKES // IN_FLIGHT) for _ in range(IN_FLIGHT))
            await asyncio.gather(self._send(ONE_WAY), self._send_large(), *asking)

    async def _invoke(self, count: int) -> None:
        for _ in range(count):
            await self._renderer.invoke_to("there", "echo", PAYLOAD)
            self._counts["invokes"] += 1

    async def _send(self, count: int) -> None:
        for _ in range(count):
            self._renderer.send_to("there", "one-way", PAYLOAD)
        self._counts["one-way"] += count
        await self._renderer.drain("there")

    async def _send_large(self) -> None:
        for size in SIZES:
            assert len(await self._renderer.invoke_to("there", "echo", bytes(size))) == size
            self._counts["large"] += 1


async def here(address: str, seconds: float, looks: int) -> None:
    """Be the renderer that asks."""
    async with mainbus.connect(address, name="here") as ipc_renderer:
        await Here(ipc_renderer).run(seconds, looks)


# The parent.


def pool_memory(process: subprocess.Popen[str]) -> int:
    """Return the memory in KiB of the pools that a process writes: each has a descriptor of its own."""
    total = 0
    for path in Path(f"/proc/{process.pid}/fd").iterdir():
        # One may have been closed since it was listed.
        with suppress(FileNotFoundError):
            if os.readlink(path).startswith("/memfd:mainbus"):
                total += path.stat().st_blocks * 512 // 1024
    return total


def measure(seconds: float, count: int, within: float) -> list[str]:
    """Run the three processes and print a line for each part; returns what is wrong."""
    with tempfile.TemporaryDirectory(prefix="mb") as folder:
        address = f"unix:{folder}/s"
        processes: dict[str, subprocess.Popen[str]] = {}
        try:
            processes["daemon"] = start_daemon("steady:setup", address)
            processes["there"] = start(__file__, "there", address)
            told(processes["there"])
            processes["here"] = start(__file__, "here", address, str(seconds), str(PARTS * count))
            return watch(processes, seconds, count, within)
        finally:
            end(*processes.values())


def watch(processes: dict[str, subprocess.Popen[str]], seconds: float, count: int, within: float) -> list[str]:
    """Print a line for each part; returns what is wrong."""
    columns = (*(f"{name}/s" for name in RATES), *(f"{name} KiB" for name in (*WHOLE, UNDER_WAY)))
    print(f"{'seconds':>8}" + "".join(f"{column:>15}" for column in columns))
    medians: list[Sample] = []
    for number in range(1, PARTS + 1):
        part = [sample(processes) for _ in range(count)]
        passed = part[-1]["at"] - part[0]["at"]
        rates = [(part[-1][name] - part[0][name]) / passed for name in RATES]
        medians.append({name: statistics.median(one[name] for one in part) for name in (*WHOLE, UNDER_WAY)})
        figures = "".join(f"{figure:>15,.0f}" for figure in (*rates, *medians[-1].values()))
        print(f"{number * seconds / PARTS:>8,.0f}{figures}", flush=True)
    return [*off(medians[1], medians[-1], within), *left(told(processes["here"])["stats"])]


def sample(processes: dict[str, subprocess.Popen[str]]) -> Sample:
    """Return what there is when it is told next."""
    heard = told(processes["here"])
    return {
        **{name: heard[name] for name in ("at", *RATES)},
        **{name: resident(process) for name, process in processes.items()},
        "pools": sum(map(pool_memory, processes.values())),
        UNDER_WAY: heard["stats"]["daemon"]["pooled"] / 1024,
    }


def off(before: Sample, after: Sample, within: float) -> Iterator[str]:
    """Yield what has changed by more than so many percent."""
    for name in WHOLE:
        change = (after[name] / before[name] - 1) * 100 if before[name] else 0.0
        if abs(change) > within:
            yield f"{name}: {change:+.1f} % from {before[name]:,.0f} KiB in part 2 of {PARTS}"


def left(stats: dict[str, dict[str, int]]) -> Iterator[str]:
    """Yield what is under way where all is answered."""
    for process, counts in stats.items():
        for name in ("queued", "held", "pooled", "pending"):
            # The daemon counts by itself what waits between renderers.
            if counts.get(name):
                yield f"at rest: {counts[name]:,} {name} in {process}"


def main() -> None:
    """Be one of the processes, or run them."""
    if sys.argv[1:2] and sys.argv[1] in ("there", "here"):
        prepare()
        role, address, *order = sys.argv[1:]
        uvloop.run(there(address) if role == "there" else here(address, float(order[0]), int(order[1])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--samples", type=int, default=30, help="how often everybody is looked at in a fifth of that")
    parser.add_argument("--within", type=float, default=5, help="percent")
    options = parser.parse_args()
    print(machine())
    wrong = measure(options.seconds, options.samples, options.within)
    print("\n".join(wrong) or "steady")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
