"""How long does one invoke take? W1: a small dict, there and back, one at a time.

To the main process (two processes) and to another renderer (three), beside raw sockets between as many processes and
beside multiprocessing.connection. Pinned to one CPU (`@1cpu`) no idle CPU has to be woken, which is the steadier
figure; unpinned is what a program sees on an idle machine.
"""

from __future__ import annotations

from typing import Any, Final

import bus
import floors
import report
import stdlib_peer
from processes import Options, Series, can_pin, interleaved

NAME: Final = "latency"
SUBJECTS: Final = (floors.L2, floors.L3, stdlib_peer.ECHO, bus.TO_MAIN, bus.TO_RENDERER)


def run(options: Options) -> tuple[str, list[dict[str, Any]]]:
    """Measure, and return the tables and the figures."""
    placements = (True, False) if can_pin() else (False,)
    series: list[Series] = []
    steps = options.repetitions * len(SUBJECTS) * len(placements)
    for step, one in enumerate(interleaved(SUBJECTS, "latency", options, placements)):
        if one is None:
            report.progress(f"{NAME} {step + 1}/{steps}")
        else:
            series.append(one)
    report.progress("")
    texts = [
        report.table(
            f"W1: one invoke, {report.place(pinned)}",
            report.rows(
                series,
                pinned,
                {
                    "p50": lambda one: f"{report.middle(one, 'p50'):.1f} µs",
                    "p99": lambda one: f"{report.middle(one, 'p99'):.1f} µs",
                    "p99 / p50": lambda one: f"{report.middle(one, 'p99') / report.middle(one, 'p50'):.2f}",
                },
                {
                    "p50 to L2": ("p50", floors.L2),
                    "p50 to L3": ("p50", floors.L3),
                    "p50 to multiprocessing": ("p50", stdlib_peer.ECHO),
                },
            ),
        )
        for pinned in placements
    ]
    return "\n".join(texts), report.results(NAME, "W1", series)


if __name__ == "__main__":
    import run as runner

    runner.main([NAME])
