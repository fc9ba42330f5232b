"""What is measured, a cell each, and the rounds in which all cells take turns, so that noise falls on all alike."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import peers
import processes
from peers.base import Peer
from processes import BenchmarkFailed, Figures, Options


class Cell(NamedTuple):
    """One peer under one workload."""

    peer: str
    workload: str
    pinned: bool = False
    """Whether all its processes share one CPU."""

    @property
    def placement(self) -> str:
        return "@1cpu" if self.pinned else "unpinned"


Measure = Callable[..., dict[str, Figures]]
"""What measures some workloads of a peer; as `processes.measure`."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What one file asks."""

    name: str
    cells: tuple[Cell, ...]
    text: Callable[[Results], str]
    """Makes the tables."""
    measure: Measure = processes.measure


@dataclass
class Results:
    """All figures of all cells, a round each; None where a peer failed in that round."""

    figures: dict[Cell, list[Figures | None]] = field(default_factory=lambda: defaultdict(list))
    missing: dict[str, list[str]] = field(default_factory=dict)
    """Peers that this machine cannot run, and what they need."""
    failed: dict[str, str] = field(default_factory=dict)
    """Peers that failed at least once, and how."""

    def rounds(self, cell: Cell, figure: str) -> list[float | None]:
        """Return one figure of all rounds."""
        return [one[figure] if one and figure in one else None for one in self.figures.get(cell, [])]

    def middle(self, cell: Cell, figure: str) -> float | None:
        """Return the median of a figure, or None if there is none."""
        return middle(self.rounds(cell, figure))

    def ratio(self, cell: Cell, other: Cell, figure: str) -> float | None:
        """Return the median of the ratios of two cells, each taken within one round."""
        return middle(ratios(self.rounds(cell, figure), self.rounds(other, figure)))


def middle(values: Iterable[float | None]) -> float | None:
    """Return the median of what is there."""
    found = [value for value in values if value is not None]
    return median(found) if found else None


def ratios(values: Sequence[float | None], others: Sequence[float | None]) -> list[float | None]:
    """Return the ratio of each round in which both were measured."""
    return [one / beside if one and beside else None for one, beside in zip(values, others, strict=False)]


def run(
    questions: Sequence[Question], options: Options, chosen: Iterable[str] = (), workloads: Iterable[str] = ()
) -> Results:
    """Measure the cells of some questions, round by round.

    Args:
        questions: The questions.
        options: How long, how often.
        chosen: The peers that are measured; all, if there are none.
        workloads: The workloads that are measured, such as "payload" or "payload:65536"; all, if there are none.
    """
    results = Results()
    cells = {
        cell: question.measure
        for question in questions
        for cell in question.cells
        if not chosen or cell.peer in chosen
        if not workloads or {cell.workload, cell.workload.partition(":")[0]} & set(workloads)
    }
    processes.allow_many_descriptors()
    sittings = _sittings(cells, results)
    for number in range(options.repetitions):
        for step, sitting in enumerate(sittings):
            progress(f"round {number + 1}/{options.repetitions}, {step + 1}/{len(sittings)}: {sitting.peer.name}")
            _sit(sitting, options, results)
    progress("")
    return results


@dataclass
class _Sitting:
    """What is measured on the same processes: starting them takes longer than many a measurement."""

    peer: Peer
    measure: Measure
    pinned: bool
    workloads: list[str]


def _sittings(cells: dict[Cell, Measure], results: Results) -> list[_Sitting]:
    found: dict[object, _Sitting] = {}
    for cell, measure in cells.items():
        peer = peers.load(cell.peer)
        if missing := peer.missing():
            results.missing[cell.peer] = missing
        elif not cell.pinned or processes.can_pin():
            # A broadcast has takers of its own.
            key = (cell.peer, measure, cell.pinned, cell.workload == "broadcast")
            sitting = found.setdefault(key, _Sitting(peer, measure, cell.pinned, []))
            sitting.workloads.append(cell.workload)
    return list(found.values())


def _sit(sitting: _Sitting, options: Options, results: Results) -> None:
    name = sitting.peer.name
    try:
        found = sitting.measure(sitting.peer, sitting.workloads, options, pinned=sitting.pinned)
    except BenchmarkFailed as error:
        results.failed[name] = str(error)
        found = {}
    for workload in sitting.workloads:
        results.figures[Cell(name, workload, sitting.pinned)].append(found.get(workload))


def progress(text: str) -> None:
    """Show on a terminal what is going on, on one line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
