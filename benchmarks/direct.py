"""What does a message port between two renderers cost? W7: a small dict, round trip and one-way.

A settled port is direct where the platform can, which takes the broker out of the way; then its "of it server" is 0.
Beside it: raw sockets between two processes with the same codec at both ends, and invokes through the broker.
"""

from __future__ import annotations

from typing import Final

import report
from rounds import Cell, Question, Results

ROUND_TRIP: Final = tuple(
    Cell(peer, "latency", pinned=True) for peer in ("L2", "L2-codec", "L3", "mainbus", "mainbus-port")
)
ONE_WAY: Final = tuple(Cell(peer, "one-way") for peer in ("L2", "L3", "mainbus", "mainbus-port"))


def text(results: Results) -> str:
    """Make a table for each direction."""
    latency = {
        "p50": report.figure(results, "p50", "{:,.1f} µs"),
        "p99": report.figure(results, "p99", "{:,.1f} µs"),
        "CPU": report.figure(results, "cpu", "{:,.1f} µs"),
        "of it server": report.figure(results, "cpu_broker", "{:,.1f} µs"),
        "p50 to L2 with codec": report.beside(results, "L2-codec", "p50"),
        "to mainbus": report.beside(results, "mainbus", "p50"),
    }
    rate = {
        "rate": report.figure(results, "rate", "{:,.1f} k/s", 1e3),
        "CPU": report.figure(results, "cpu", "{:,.2f} µs"),
        "of it server": report.figure(results, "cpu_broker", "{:,.2f} µs"),
        "rate to mainbus": report.beside(results, "mainbus", "rate"),
    }
    return "\n".join(
        [
            report.peer_table("W7: round trip over a port, @1cpu", results, ROUND_TRIP, latency),
            report.peer_table("W7: one-way messages over a port", results, ONE_WAY, rate),
        ]
    )


QUESTION: Final = Question(name="direct", cells=ROUND_TRIP + ONE_WAY, text=text)

if __name__ == "__main__":
    import run

    run.main([QUESTION.name])
