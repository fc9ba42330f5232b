"""Figures as a table for people and as JSON for programs: medians, ratios within a round, where and with what."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import peers
from mainbus.wire import CODEC
from processes import Options
from rounds import Cell, Results, middle, ratios

Column = Callable[[Cell], str]

_SIZES: Final = ((1 << 20, "MiB"), (1 << 10, "KiB"))


def surroundings(options: Options, names: Iterable[str] = ()) -> dict[str, Any]:
    """Return what the figures depend on: machine, system, versions, loop, codec, how often and how long.

    Args:
        options: How often, how long.
        names: The peers whose versions are told.
    """
    versions: dict[str, str | None] = {}
    for name in ("mainbus", *names):
        versions |= _versions(name)
    return {
        "machine": _cpu(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions,
        "loop": options.loop,
        "codec": CODEC,
        "seconds": options.seconds,
        "shrink": options.shrink,
        "repetitions": options.repetitions,
    }


def headline(where: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in where["versions"].items())
    return (
        f"{where['machine']}, {where['cpus']} CPUs, {where['system']}; {where['python']}, {versions}; "
        f"loop {where['loop']}, codec {where['codec']}; medians of {where['repetitions']} x {where['seconds']:g} s"
    )


def table(title: str, rows: Sequence[Sequence[str]]) -> str:
    """Lay out rows, the first being the heads: names to the left, figures to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        return "  ".join(cells).rstrip()

    return "\n".join(["", title, line(rows[0]), "  ".join("-" * width for width in widths), *map(line, rows[1:])])


def peer_table(title: str, results: Results, cells: Iterable[Cell], columns: dict[str, Column]) -> str:
    """Lay out a row for each peer that was measured.

    Args:
        title: What stands above it.
        results: The figures.
        cells: A cell for each row.
        columns: Head and text of each column.
    """
    rows = [["", *columns]]
    for cell in cells:
        if any(results.figures.get(cell, [])):
            rows.append([peers.load(cell.peer).title, *(column(cell) for column in columns.values())])
    return table(title, rows) if len(rows) > 1 else ""


def figure(results: Results, name: str, form: str, scale: float = 1) -> Column:
    """Return a column of medians, such as `form` "{:.1f} µs"."""

    def text(cell: Cell) -> str:
        value = results.middle(cell, name)
        return form.format(value / scale) if value is not None else ""

    return text


def quotient(results: Results, cell: Cell, name: str, other: str) -> str:
    """Write the median of the ratios of two figures of a cell."""
    value = middle(ratios(results.rounds(cell, name), results.rounds(cell, other)))
    return f"{value:.2f}" if value is not None else ""


def beside(results: Results, other: str, name: str) -> Column:
    """Return a column of ratios to another peer under the same workload."""

    def text(cell: Cell) -> str:
        value = None if cell.peer == other else results.ratio(cell, cell._replace(peer=other), name)
        return f"{value:.2f} x" if value is not None else ""

    return text


def size(count: int) -> str:
    """Write a number of bytes."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{count // unit} {name}"
    return f"{count} B"


def absent(results: Results) -> str:
    """Say which peers were not measured, and which failed."""
    lines = [
        f"{peers.load(name).title}: not here, needs {', '.join(needs)}" for name, needs in results.missing.items()
    ] + [f"{peers.load(name).title}: failed, {how}" for name, how in results.failed.items()]
    return "\n".join(["", *lines]) if lines else ""


def figures(results: Results) -> list[dict[str, Any]]:
    """Return the figures for programs."""
    return [
        {
            "peer": cell.peer,
            "workload": cell.workload,
            "placement": cell.placement,
            "median": {name: results.middle(cell, name) for name in next(filter(None, rounds), {})},
            "rounds": rounds,
        }
        for cell, rounds in results.figures.items()
    ]


def results(found: dict[str, Any]) -> Results:
    """Return the figures that were written for programs."""
    read = Results(missing=found["missing"], failed=found["failed"])
    for one in found["results"]:
        read.figures[Cell(one["peer"], one["workload"], one["placement"] == "@1cpu")] = one["rounds"]
    return read


def _versions(name: str) -> dict[str, str | None]:
    peer = peers.load(name)
    found: dict[str, str | None] = {distribution: _version(distribution) for distribution in peer.distributions}
    if peer.missing():
        return {}
    found.update(peer.program_versions())
    return found


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
