"""What does a connection cost? W6: memory of the broker for each idle renderer, and the time to connect it.

A thousand from one process, beside peers and a bare loop (L2); then a storm: 5,000 from five processes at the same
time. The time to connect is what both ends together need: connections divided by how long all of them took.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import peers
import report
from common import Order
from peers.base import Peer
from processes import Figures, Options, Process, Stage, cpu_time
from rounds import Cell, Question, Results

IDLE: Final = 1000
STORM: Final = 5000
SOURCES: Final = 5
"""Processes that a storm comes from."""

WARM: Final = 64
"""Connections before memory is looked at: the first ones pay for what all of them share."""

CELLS: Final = tuple(Cell(peer, f"connect:{IDLE}") for peer in peers.that_can("connect"))
STORMS: Final = tuple(Cell(peer, f"storm:{STORM}") for peer in ("L2", "mainbus"))


def measure(peer: Peer, workloads: Sequence[str], options: Options, *, pinned: bool = False) -> dict[str, Figures]:
    """Connect so many renderers to a fresh broker, for each workload."""
    found = {}
    for workload in workloads:
        kind, _, count = workload.partition(":")
        with Stage(options, pinned=pinned) as stage:
            found[workload] = _connect(stage, peer, int(count) // options.shrink, SOURCES if kind == "storm" else 1)
    return found


def _connect(stage: Stage, peer: Peer, count: int, sources: int) -> Figures:
    server = stage.start(peer.command, stage.order(peer.servers[0]))
    server.wait_until_ready()
    stage.start(peer.command, stage.order("idle", count=WARM)).wait_until_ready()
    memory, used = resident(server.pid), cpu_time(server.pid)
    order: Order = stage.order("idle", count=count // sources)
    crowd: list[Process] = [stage.start(peer.command, order) for _ in range(sources)]
    told = [process.told() for process in crowd]
    took = max(one["end"] for one in told) - min(one["start"] for one in told)
    return {
        "connect": took / count / 1e3,
        "cpu": (cpu_time(server.pid) - used + sum(one["cpu"] for one in told)) / count,
        "kib": max(resident(server.pid) - memory, 0) / count,
        "seconds": took / 1e9,
    }


def resident(pid: int) -> int:
    """Return the resident memory of a process in KiB; 0 where the system does not tell that."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") // 1024


def text(results: Results) -> str:
    """Make a table for the thousand, and one for the storm."""
    columns = {
        "memory each": report.figure(results, "kib", "{:.2f} KiB"),
        "to connect": report.figure(results, "connect", "{:,.0f} µs"),
        "CPU, both ends": report.figure(results, "cpu", "{:,.0f} µs"),
        "all in": report.figure(results, "seconds", "{:.2f} s"),
    }
    return "\n".join(
        [
            report.peer_table(f"W6: {IDLE:,} idle connections from one process", results, CELLS, columns),
            report.peer_table(f"W6: a storm of {STORM:,} from {SOURCES} processes", results, STORMS, columns),
        ]
    )


QUESTION: Final = Question(name="connections", cells=CELLS + STORMS, text=text, measure=measure)

if __name__ == "__main__":
    import run

    run.main([QUESTION.name])
