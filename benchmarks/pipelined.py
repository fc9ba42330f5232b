"""How many invokes a second? W2: of a small dict, 64 in flight.

To the main process and to another renderer, beside peers and raw sockets between as many processes.
"""

from __future__ import annotations

from typing import Final

import peers
import report
from rounds import Cell, Question, Results

CELLS: Final = tuple(Cell(peer, "in-flight") for peer in peers.that_can("in-flight"))


def text(results: Results) -> str:
    """Make the table."""
    columns = {
        "rate": report.figure(results, "rate", "{:,.1f} k/s", 1e3),
        "CPU": report.figure(results, "cpu", "{:,.1f} µs"),
        "of it server": report.figure(results, "cpu_broker", "{:,.1f} µs"),
        "to L2": report.beside(results, "L2", "rate"),
        "to L3": report.beside(results, "L3", "rate"),
        "to multiprocessing": report.beside(results, "multiprocessing", "rate"),
    }
    return report.peer_table("W2: invokes a second, 64 in flight", results, CELLS, columns)


QUESTION: Final = Question(name="pipelined", cells=CELLS, text=text)

if __name__ == "__main__":
    import run

    run.main([QUESTION.name])
