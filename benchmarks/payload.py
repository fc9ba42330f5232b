"""How fast do bytes cross? W5: an echo of 64 B to 64 MiB, one at a time, both ways counted.

From renderer to renderer, beside peers and raw blocking sockets; mainbus and the floors at all sizes, the others at
those that matter.
"""

from __future__ import annotations

from typing import Final

import peers
import report
from rounds import Cell, Question, Results

KIB: Final = 1 << 10
MIB: Final = 1 << 20
POINTS: Final = (64 * KIB, MIB, 16 * MIB)
"""Sizes that have goals."""
SWEEP: Final = (64, KIB, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB)

SWEPT: Final[tuple[str, ...]] = ("L0", "L1", "mainbus", "mainbus-socket")
BESIDE: Final = tuple(name for name in peers.that_can("payload") if name not in SWEPT)


def cell(peer: str, size: int) -> Cell:
    return Cell(peer, f"payload:{size}")


CELLS: Final = tuple(cell(peer, size) for peer in SWEPT for size in SWEEP) + tuple(
    cell(peer, size) for peer in BESIDE for size in POINTS
)


def text(results: Results) -> str:
    """Make a table for each size that has goals, and one of the sweep."""
    tables = []
    for size in POINTS:
        columns = {
            "rate": report.figure(results, "mib_s", "{:,.0f} MiB/s"),
            "p50": report.figure(results, "p50", "{:,.0f} µs"),
            "CPU": report.figure(results, "cpu", "{:,.0f} µs"),
            "rate to L0": report.beside(results, "L0", "mib_s"),
            "to L1": report.beside(results, "L1", "mib_s"),
        }
        rows = [cell(peer, size) for peer in (*SWEPT, *BESIDE)]
        tables.append(report.peer_table(f"W5: an echo of {report.size(size)}", results, rows, columns))
    return "\n".join([*filter(None, tables), _sweep(results)])


def _sweep(results: Results) -> str:
    rows = [["", *SWEPT, "mainbus to L1"]]
    for size in SWEEP:
        rates = [report.figure(results, "mib_s", "{:,.1f}")(cell(peer, size)) for peer in SWEPT]
        if any(rates):
            rows.append([report.size(size), *rates, report.beside(results, "L1", "mib_s")(cell("mainbus", size))])
    return report.table("W5: MiB a second by size", rows) if len(rows) > 1 else ""


QUESTION: Final = Question(name="payload", cells=CELLS, text=text)

if __name__ == "__main__":
    import run

    run.main([QUESTION.name])
