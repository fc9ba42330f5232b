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
from pathlib import Path
from statistics import median
from typing import Final

import attackers
import common
import peers
import report
from common import Order
from mainbus_broker import Broker, IpcMain
from mainbus_broker.logs import LogFormat, LogLevel, configure
from processes import Figures, Options, Stage
from rounds import progress

LEAST_RATE: Final = 0.5
MOST_P99: Final = 10.0

WORKLOADS: Final = ("latency", "in-flight")
NAMES: Final = {"attacked": "beside attackers", "quiet": "on a broker of its own"}

ATTACKS: Final = [*attackers.ATTACKS, *attackers.MORE_ATTACKS]


async def broker(order: Order) -> None:
    """Be one of the brokers; its log goes to a file, as a daemon's would, and its counters behind it."""
    with Path(f"{order.path}.log").open("w") as log:  # noqa: ASYNC230 - before anything is served
        configure(LogLevel.INFO, LogFormat.JSON, log)
        ipc_main = IpcMain()
        ipc_main.handle("echo", lambda event, value: value)
        async with Broker(f"unix:{order.path}", ipc_main=ipc_main) as running:
            ipc_main.handle("stats", lambda event: running.stats())
            common.ready()
            await running.serve_forever()


async def stats(order: Order) -> None:
    """Tell the counters of a broker."""
    import mainbus

    async with mainbus.connect(f"unix:{order.path}") as ipc_renderer:
        common.tell(**await ipc_renderer.invoke("stats"))


# The parent.


class Neighbours:
    """Both brokers and their pairs, and the attackers, on a stage.

    Args:
        stage: Ends them.
        attacks: What is done to the first broker.
    """

    def __init__(self, stage: Stage, attacks: list[str]) -> None:
        self._stage = stage
        self._pair = peers.load("mainbus").command
        for place in NAMES:
            stage.start(_own, stage.order("broker", socket=place)).wait_until_ready()
            stage.start(self._pair, stage.order("answer", socket=place)).wait_until_ready()
        for name in attacks:
            stage.start(_attacker, stage.order("attack", [name], socket="attacked")).wait_until_ready()

    def measure(self, place: str) -> Figures:
        """Let one of the pairs measure."""
        driver = self._stage.start(self._pair, self._stage.order("drive", WORKLOADS, socket=place))
        found: Figures = {}
        driver.wait_until_ready()
        for _ in WORKLOADS:
            driver.go()
            found |= driver.told()
        driver.end()
        return found

    def counters(self) -> dict[str, int]:
        """Return the counters of the attacked broker."""
        asker = self._stage.start(_own, self._stage.order("stats", socket="attacked"))
        counters = asker.told()
        counters["log lines"] = len(Path(self._stage.folder, "attacked.log").read_bytes().splitlines())
        return counters


def _own(order: Order) -> list[str]:
    return [sys.executable, __file__, order.to_json()]


def _attacker(order: Order) -> list[str]:
    return [sys.executable, attackers.__file__, order.to_json()]


def measure(options: Options, attacks: list[str]) -> tuple[dict[str, list[Figures]], dict[str, int]]:
    """Return the figures of both pairs, a repetition each, and the counters of the attacked broker."""
    figures: dict[str, list[Figures]] = {place: [] for place in NAMES}
    with Stage(options) as stage:
        neighbours = Neighbours(stage, attacks)
        for step in range(options.repetitions):
            for place, found in figures.items():
                progress(f"hostile {step + 1}/{options.repetitions}, the pair {NAMES[place]}")
                found.append(neighbours.measure(place))
        progress("")
        counters = neighbours.counters()
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
