"""Figures as a table for people and as JSON for programs: medians, ratios within a repetition, where and with what."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Final

from processes import Options, Series, Subject

PACKAGES: Final = ("mainbus", "uvloop", "cbor2", "msgspec")


def surroundings(options: Options) -> dict[str, Any]:
    """Return what the figures depend on: machine, system, versions, loop, how often and how long."""
    return {
        "machine": _cpu(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {name: _version(name) for name in PACKAGES},
        "loop": options.loop,
        "seconds": options.seconds,
        "repetitions": options.repetitions,
    }


def headline(where: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    return (
        f"{where['machine']}, {where['cpus']} CPUs, {where['system']}; {where['python']}, {versions}; "
        f"loop {where['loop']}; medians of {where['repetitions']} x {where['seconds']:g} s"
    )


def place(pinned: bool) -> str:
    return "@1cpu" if pinned else "unpinned"


def middle(series: Series, figure: str) -> float:
    return median(one[figure] for one in series.figures)


def ratio(series: Series, other: Series, figure: str) -> float:
    """Return the median of the ratios of two series, each taken within one repetition."""
    pairs = zip(series.figures, other.figures, strict=True)
    return median(one[figure] / beside[figure] for one, beside in pairs)


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows, the first being the heads: names to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join(["", title, line(rows[0]), "  ".join("-" * width for width in widths), *map(line, rows[1:])])


def rows(
    series: Sequence[Series],
    pinned: bool,
    columns: dict[str, Callable[[Series], str]],
    yardsticks: dict[str, tuple[str, Subject]],
) -> list[list[str]]:
    """Make the rows of one placement.

    Args:
        series: All series of the workload.
        pinned: The placement.
        columns: Head and text of each figure.
        yardsticks: Head, figure and subject of each ratio.
    """
    here = [one for one in series if one.pinned is pinned]
    beside = {one.subject: one for one in here}
    found = [["", *columns, *yardsticks]]
    for one in here:
        ratios = [
            "" if one.subject == other else f"{ratio(one, beside[other], figure):.2f} x"
            for figure, other in yardsticks.values()
        ]
        found.append([one.subject.name, *(text(one) for text in columns.values()), *ratios])
    return found


def results(question: str, workload: str, series: Sequence[Series]) -> list[dict[str, Any]]:
    """Return the figures for programs."""
    return [
        {
            "question": question,
            "workload": workload,
            "subject": one.subject.name,
            "placement": place(one.pinned),
            "median": {figure: middle(one, figure) for figure in one.figures[0]},
            "repetitions": one.figures,
        }
        for one in series
    ]


def progress(text: str) -> None:
    """Show on a terminal what is going on, on one line."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return "from source" if name == "mainbus" else None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
