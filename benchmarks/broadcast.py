"""How many deliveries a second does a broadcast make? W4: a small dict to 50 renderers in two processes."""

from __future__ import annotations

from typing import Final

import peers
import report
from rounds import Cell, Question, Results

CELLS: Final = tuple(Cell(peer, "broadcast") for peer in peers.that_can("broadcast"))


def text(results: Results) -> str:
    """Make the table."""
    columns = {
        "rate": report.figure(results, "rate", "{:,.1f} k/s", 1e3),
        "CPU": report.figure(results, "cpu", "{:,.2f} µs"),
        "of it server": report.figure(results, "cpu_broker", "{:,.2f} µs"),
        "rate to mainbus": report.beside(results, "mainbus", "rate"),
    }
    return report.peer_table("W4: deliveries a second of a broadcast to 50", results, CELLS, columns)


QUESTION: Final = Question(name="broadcast", cells=CELLS, text=text)

if __name__ == "__main__":
    import run

    run.main([QUESTION.name])
