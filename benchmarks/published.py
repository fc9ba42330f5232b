"""Writes the figures of a run where readers find them: the table into README.md, the plots into docs/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import goals
import plots
import report
from rounds import Results

README: Final = Path(__file__).parent / "README.md"
PLOTS: Final = Path(__file__).parents[1] / "docs" / "static" / "benchmarks"
BEGIN: Final = "<!-- figures: written by `run.py --write` -->"
END: Final = "<!-- end of figures -->"


def publish(results: Results, where: dict[str, Any], readme: Path = README, folder: Path = PLOTS) -> None:
    """Write the table and the plots."""
    names = plots.draw(results, folder)
    images = [f"![{name.removesuffix('.svg')}](../docs/static/benchmarks/{name})" for name in names]
    lines = [BEGIN, "", report.headline(where) + ".", "", *_markdown(goals.table(results)), "", *images, ""]
    lines += [f"- {line}" for line in report.absent(results).splitlines() if line]
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    readme.write_text(before + "\n".join(lines).rstrip() + "\n\n" + END + after, encoding="utf-8")


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *body = rows
    return [_line(head), _line(["---"] * len(head)), *map(_line, body)]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
