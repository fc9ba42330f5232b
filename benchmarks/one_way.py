"""How many one-way messages a second are delivered? W3: a small dict, from one end to the other.

To the main process and to another renderer, beside peers and raw sockets between as many processes. What counts is
when the last one was received, not when it was sent.
"""

from __future__ import annotations

from typing import Final

import peers
import report
from rounds import Cell, Question, Results

CELLS: Final = tuple(Cell(peer, "one-way") for peer in peers.that_can("one-way"))


def text(results: Results) -> str:
    """Make the table."""
    columns = {
        "rate": report.figure(results, "rate", "{:,.1f} k/s", 1e3),
        "CPU": report.figure(results, "cpu", "{:,.2f} µs"),
        "of it server": report.figure(results, "cpu_broker", "{:,.2f} µs"),
        "to L3": report.beside(results, "L3", "rate"),
        "to multiprocessing": report.beside(results, "multiprocessing", "rate"),
    }
    return report.peer_table("W3: one-way messages a second, delivered", results, CELLS, columns)


QUESTION: Final = Question(name="one-way", cells=CELLS, text=text)

if __name__ == "__main__":
    import run

    run.main([QUESTION.name])
