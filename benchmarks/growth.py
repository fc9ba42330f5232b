"""Does a message cost more when there is more of everything else? An invoke from renderer to renderer, 64 in flight.

While 10 to 5,000 other renderers are connected; while the answering renderer and the main process have as many other
channels; while they have as many listeners elsewhere. What counts is the CPU time of one message in all three
processes on one CPU, and its ratio to that on a broker with 10. The two take turns in short windows, and the ratio is
the median of those between two neighbours: a machine that changes its speed does so for both.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final

import common
import mainbus
import report
from common import Order
from mainbus_broker import Broker, IpcMain
from peers.base import Peer
from processes import Figures, Options, Process, Stage, cpu_time
from rounds import Cell, Question, Results

FEW: Final = 10
STEPS: Final = {"renderers": (100, 1000, 5000), "channels": (5000,), "listeners": (5000,)}

WINDOWS: Final = 9
"""How often each of the two is measured, for a third of the time of other cells."""


def cell(kind: str, count: int) -> Cell:
    return Cell("mainbus", f"{kind}:{count}", pinned=True)


CELLS: Final = tuple(cell(kind, count) for kind, counts in STEPS.items() for count in counts)


def measure(peer: Peer, workloads: Sequence[str], options: Options, *, pinned: bool = False) -> dict[str, Figures]:
    """Measure a broker with few and one with many of something, for each workload."""
    found = {}
    options = replace(options, seconds=options.seconds / 3)
    with Stage(options, pinned=pinned) as beside:
        few = _Bus(beside, peer, "renderers", FEW, len(workloads))
        for workload in workloads:
            kind, _, count = workload.partition(":")
            with Stage(options, pinned=pinned) as stage:
                many = _Bus(stage, peer, kind, int(count) // options.shrink)
                costs = [(few.cost(), many.cost()) for _ in range(WINDOWS)]
            lone, crowded = (min(column) for column in zip(*costs, strict=True))
            ratio = median(crowded / lone for lone, crowded in costs)
            found[workload] = {"cpu": crowded, "few": lone, "ratio": ratio}
    return found


class _Bus:
    """A broker and an answering renderer, with so many renderers, channels or listeners beside what is measured."""

    def __init__(self, stage: Stage, peer: Peer, kind: str, count: int, times: int = 1) -> None:
        self._processes: list[Process] = []
        for role in ("broker", "answer"):
            process = stage.start(_own, stage.order(role, [kind], count=count))
            process.wait_until_ready()
            self._processes.append(process)
        if kind == "renderers":
            stage.start(peer.command, stage.order("idle", count=count)).wait_until_ready()
        self._driver = stage.start(peer.command, stage.order("drive", ["in-flight"] * WINDOWS * times))
        self._driver.wait_until_ready()
        self._processes.append(self._driver)

    def cost(self) -> float:
        """Return the CPU time of one message in microseconds."""
        before = self._spent()
        self._driver.go()
        messages: int = self._driver.told()["messages"]
        return (self._spent() - before) / messages

    def _spent(self) -> float:
        return sum(cpu_time(process.pid) for process in self._processes)


def _own(order: Order) -> list[str]:
    return [sys.executable, __file__, order.to_json()]


# The processes.


def _crowd(order: Order, on: Any, handle: Any) -> None:
    """Add channels or listeners that nobody uses."""
    for number in range(order.count):
        if order.workloads == ("channels",):
            handle(f"channel-{number}", _nothing)
        elif order.workloads == ("listeners",):
            on("elsewhere", lambda *args, number=number: number)


def _nothing(*args: object) -> None:
    pass


async def broker(order: Order) -> None:
    ipc_main = IpcMain()
    _crowd(order, ipc_main.on, ipc_main.handle)
    async with Broker(f"unix:{order.path}", ipc_main=ipc_main) as running:
        common.ready()
        await running.serve_forever()


async def answer(order: Order) -> None:
    async with mainbus.connect(f"unix:{order.path}", name="answer") as ipc_renderer:
        _crowd(order, ipc_renderer.on, ipc_renderer.handle)
        ipc_renderer.handle("echo", lambda event, value: value, senders="renderers")
        common.ready()
        await common.forever()


def text(results: Results) -> str:
    """Make a table."""
    rows = [["", "CPU of a message", f"with {FEW}", "ratio"]]
    for kind, counts in STEPS.items():
        for count in counts:
            one = cell(kind, count)
            if any(results.figures.get(one, [])):
                figures = [("cpu", "{:.1f} µs"), ("few", "{:.1f} µs"), ("ratio", "{:.2f} x")]
                rows.append([f"{count:,} {kind}", *(report.figure(results, name, form)(one) for name, form in figures)])
    return report.table("Growth: an invoke beside many others, @1cpu", rows) if len(rows) > 1 else ""


QUESTION: Final = Question(name="growth", cells=CELLS, text=text, measure=measure)

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        common.main({"broker": broker, "answer": answer})
    else:
        import run

        run.main([QUESTION.name])
