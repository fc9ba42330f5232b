"""How long does one invoke take? W1: a small dict, there and back, one at a time.

To the main process (two processes) and to another renderer (three), beside peers and raw sockets between as many
processes. Pinned to one CPU (`@1cpu`) no idle CPU has to be woken, which is the steadier figure; unpinned is what a
program sees on an idle machine.
"""

from __future__ import annotations

from typing import Final

import peers
import report
from rounds import Cell, Question, Results


def cells(*, pinned: bool) -> tuple[Cell, ...]:
    return tuple(Cell(peer, "latency", pinned) for peer in peers.that_can("latency"))


def text(results: Results) -> str:
    """Make a table for each placement."""
    columns = {
        "p50": report.figure(results, "p50", "{:,.1f} µs"),
        "p99": report.figure(results, "p99", "{:,.1f} µs"),
        "p99 / p50": lambda cell: report.quotient(results, cell, "p99", "p50"),
        "CPU": report.figure(results, "cpu", "{:,.1f} µs"),
        "of it server": report.figure(results, "cpu_broker", "{:,.1f} µs"),
        "p50 to L2": report.beside(results, "L2", "p50"),
        "to L3": report.beside(results, "L3", "p50"),
        "to multiprocessing": report.beside(results, "multiprocessing", "p50"),
    }
    return "\n".join(
        report.peer_table(f"W1: one invoke, {place}", results, cells(pinned=pinned), columns)
        for pinned, place in ((True, "@1cpu"), (False, "unpinned"))
    )


QUESTION: Final = Question(name="latency", cells=cells(pinned=True) + cells(pinned=False), text=text)

if __name__ == "__main__":
    import run

    run.main([QUESTION.name])
