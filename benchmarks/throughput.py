"""How many messages a second? W2: invokes, 64 in flight; W3: one-way messages, delivered.

The small dict of the other benchmarks, to the main process and to another renderer, beside raw sockets between as
many processes and beside multiprocessing.connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import bus
import floors
import report
import stdlib_peer
from processes import Options, Series, Subject, interleaved

NAME: Final = "throughput"
IN_FLIGHT: Final = (floors.L2, floors.L3, stdlib_peer.ECHO, bus.TO_MAIN, bus.TO_RENDERER)
ONE_WAY: Final = (floors.L3_ONE_WAY, stdlib_peer.ONE_WAY, bus.ONE_WAY_TO_MAIN, bus.ONE_WAY_TO_RENDERER)


def run(options: Options) -> tuple[str, list[dict[str, Any]]]:
    """Measure, and return the tables and the figures."""
    in_flight = _measure(IN_FLIGHT, "in-flight", options)
    one_way = _measure(ONE_WAY, "one-way", options)
    text = _table(
        "W2: invokes a second, 64 in flight",
        in_flight,
        {"to L2": floors.L2, "to L3": floors.L3, "to multiprocessing": stdlib_peer.ECHO},
    ) + _table(
        "W3: one-way messages a second, delivered",
        one_way,
        {"to L3": floors.L3_ONE_WAY, "to multiprocessing": stdlib_peer.ONE_WAY},
    )
    return text, report.results(NAME, "W2", in_flight) + report.results(NAME, "W3", one_way)


def _measure(subjects: Sequence[Subject], workload: str, options: Options) -> list[Series]:
    series: list[Series] = []
    for step, one in enumerate(interleaved(subjects, workload, options, (False,))):
        if one is None:
            report.progress(f"{NAME} {workload} {step + 1}/{options.repetitions * len(subjects)}")
        else:
            series.append(one)
    report.progress("")
    return series


def _table(title: str, series: list[Series], yardsticks: dict[str, Subject]) -> str:
    columns = {"rate": lambda one: f"{report.middle(one, 'rate') / 1e3:.1f} k/s"}
    ratios = {head: ("rate", subject) for head, subject in yardsticks.items()}
    return report.table(title, report.rows(series, False, columns, ratios)) + "\n"


if __name__ == "__main__":
    import run as runner

    runner.main([NAME])
