"""What is left for a well-behaved pair of renderers while their neighbours do their worst?

    python benchmarks/hostile.py [--repetitions 5] [--seconds 1] [--json out.json]

Two brokers, each with a pair of renderers that invoke each other, and five attackers that all go for the first one, all
the time. The attackers cost the other pair its share of the machine, too, so what differs between the two pairs is what
the attacked broker lets its neighbours take. It fails when the attacked pair has less than half the rate of the other
one, or more than ten times its 99th percentile.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

import attackers
import bus
import common
import report
from mainbus_broker import Broker, IpcMain
from mainbus_broker.logs import LogFormat, LogLevel, configure
from processes import Options, Process, Subject

LEAST_RATE: Final = 0.5
MOST_P99: Final = 10.0

BROKER: Final = Subject("broker", __file__, servers=())
PAIR: Final = Subject("pair", bus.__file__, servers=())
ATTACKERS: Final = Subject("attackers", attackers.__file__, servers=())
NAMES: Final = {"attacked": "beside attackers", "quiet": "on a broker of its own"}

ATTACKS: Final = [*attackers.ATTACKS, *attackers.MORE_ATTACKS]

Figures = dict[str, float]


async def broker(order: common.Order) -> None:
    """Be one of the brokers; its log goes to a file, as a daemon's would, and its counters behind it."""
    with Path(f"{order.path}.log").open("w") as log:  # noqa: ASYNC230 - before anything is served
        configure(LogLevel.INFO, LogFormat.JSON, log)
        ipc_main = IpcMain()
        ipc_main.handle("echo", lambda event, value: value)
        async with Broker(f"unix:{order.path}", ipc_main=ipc_main) as running:
            ipc_main.handle("stats", lambda event: running.stats())
            common.ready()
            await running.serve_forever()


async def stats(order: common.Order) -> None:
    """Tell the counters of a broker."""
    import mainbus

    async with mainbus.connect(f"unix:{order.path}") as ipc_renderer:
        common.tell(**await ipc_renderer.invoke("stats"))


# The parent.


class Stage:
    """Both brokers and their pairs, and the attackers, until `close`.

    Args:
        options: Times and loop.
    """

    def __init__(self, options: Options, attacks: list[str]) -> None:
        self._options = options
        self._attacks = attacks
        self._stack = ExitStack()
        self.folder = ""

    def __enter__(self) -> Stage:
        self.folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mb"))
        with self._stack:
            for place in NAMES:
                self.start(BROKER, "broker", place).told()
                self.start(PAIR, "answer", place).told()
            for name in self._attacks:
                self.start(ATTACKERS, "attack", "attacked", name).told()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def start(self, subject: Subject, role: str, place: str, workload: str = "") -> Process:
        """Start one process that ends with the stage."""
        process = Process(subject, self._order(role, place, workload))
        self._stack.callback(process.end)
        return process

    def ask(self, subject: Subject, role: str, place: str, workload: str = "") -> dict[str, Any]:
        """Let a process do something, and return what it tells."""
        process = Process(subject, self._order(role, place, workload))
        try:
            return process.told()
        finally:
            process.end()

    def measure(self, place: str) -> Figures:
        """Let one of the pairs measure."""
        latency = self.ask(PAIR, "drive", place, "latency")
        return {**latency, **self.ask(PAIR, "drive", place, "in-flight")}

    def _order(self, role: str, place: str, workload: str) -> common.Order:
        options = self._options
        path = f"{self.folder}/{place}"
        return common.Order(
            role=role, workload=workload, path=path, seconds=options.seconds, loop=options.loop, cpu=None
        )


def measure(options: Options, attacks: list[str]) -> tuple[dict[str, list[Figures]], dict[str, int]]:
    """Return the figures of both pairs, a repetition each, and the counters of the attacked broker."""
    figures: dict[str, list[Figures]] = {place: [] for place in NAMES}
    with Stage(options, attacks) as stage:
        for step in range(options.repetitions):
            for place, found in figures.items():
                report.progress(f"hostile {step + 1}/{options.repetitions}, the pair {NAMES[place]}")
                found.append(stage.measure(place))
        report.progress("")
        counters = stage.ask(BROKER, "stats", "attacked")
        counters["log lines"] = len(Path(stage.folder, "attacked.log").read_bytes().splitlines())
    return figures, counters


def ratio(figures: dict[str, list[Figures]], figure: str) -> float:
    """Return the median of the ratios of the two pairs, each taken within one repetition."""
    pairs = zip(figures["attacked"], figures["quiet"], strict=True)
    return median(one[figure] / other[figure] for one, other in pairs)


def table(figures: dict[str, list[Figures]]) -> str:
    rows = [["the pair", "p50", "p99", "64 in flight"]]
    for place, name in NAMES.items():
        p50, p99, rate = (median(one[figure] for one in figures[place]) for figure in ("p50", "p99", "rate"))
        rows.append([name, f"{p50:,.0f} µs", f"{p99:,.0f} µs", f"{rate / 1e3:,.2f} k/s"])
    rows.append(["ratio", *(f"{ratio(figures, figure):.2f} x" for figure in ("p50", "p99", "rate"))])
    return report.table("An invoke from renderer to renderer, of a small dict", rows)


def faults(figures: dict[str, list[Figures]]) -> list[str]:
    """Return which bounds are missed."""
    wrong = []
    if (rate := ratio(figures, "rate")) < LEAST_RATE:
        wrong.append(f"the attacked pair has {rate:.2f} x the rate, less than {LEAST_RATE:g}")
    if (p99 := ratio(figures, "p99")) > MOST_P99:
        wrong.append(f"the attacked pair has {p99:.2f} x the 99th percentile, more than {MOST_P99:g}")
    return wrong


def main() -> None:
    """Be one of the processes, or run them."""
    if sys.argv[1:2] and sys.argv[1].startswith("{"):
        common.main({"broker": broker, "stats": stats})
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=Options.seconds, help="of each measurement")
    parser.add_argument("--repetitions", type=int, default=Options.repetitions)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default=Options.loop)
    parser.add_argument("--attack", action="append", choices=ATTACKS, help="only this one; repeatable")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    chosen = parser.parse_args()
    options = Options(chosen.seconds, chosen.repetitions, chosen.loop)
    where = report.surroundings(options)
    print(report.headline(where))
    figures, counters = measure(options, chosen.attack or list(attackers.ATTACKS))
    wrong = faults(figures)
    print(table(figures))
    print("\nThe attacked broker:", ", ".join(f"{name} {count:,}" for name, count in counters.items()))
    print("\n".join(wrong) or "within the bounds")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps({**where, "results": figures, "counters": counters, "wrong": wrong}))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    logging.captureWarnings(True)
    main()
