"""Draws lines and bars as SVG, small and readable in light and dark.

Two kinds of plots need no library: one would be the largest package in the environment, and its files would differ
from run to run in more than the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log10
from typing import Final

WIDTH: Final = 720
LEFT: Final = 70
RIGHT: Final = 130
TOP: Final = 54
BOTTOM: Final = 48
BAR: Final = 26
NAMES: Final = 285
"""Room for the names of bars."""

# Colours that can be told apart with any eyes (Okabe and Ito), the dark ones lighter.
_STYLE: Final = """<style>
svg { color-scheme: light dark; font: 13px system-ui, sans-serif; }
.ground { fill: #ffffff; } text { fill: #222222; } .title { font-size: 15px; font-weight: 600; }
.grid { stroke: #dddddd; } .ours { fill: #0072b2; } .other { fill: #b4b4b4; }
.line { fill: none; stroke-width: 2; }
.c0 { stroke: #0072b2; } .c1 { stroke: #d55e00; } .c2 { stroke: #009e73; }
.c3 { stroke: #cc79a7; } .c4 { stroke: #8a6d00; } .c5 { stroke: #666666; }
@media (prefers-color-scheme: dark) {
.ground { fill: #131416; } text { fill: #dddddd; } .grid { stroke: #3a3a3a; }
.ours { fill: #56b4e9; } .other { fill: #6b6b6b; }
.c0 { stroke: #56b4e9; } .c1 { stroke: #ff9248; } .c2 { stroke: #2fcf9f; }
.c3 { stroke: #e6a3c8; } .c4 { stroke: #f0e442; } .c5 { stroke: #aaaaaa; }
}
</style>"""

COLOURS: Final = 6


@dataclass
class Line:
    """One line of a plot."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass
class Axis:
    """One axis: its name, and where it has a mark with which text."""

    name: str
    marks: Sequence[tuple[float, str]]
    is_log: bool = True
    first: float = field(init=False)
    last: float = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.last = self._scale(self.marks[0][0]), self._scale(self.marks[-1][0])

    def part(self, value: float) -> float:
        """Return where on the axis a value lies, from 0 to 1."""
        return (self._scale(value) - self.first) / (self.last - self.first)

    def _scale(self, value: float) -> float:
        return log10(value) if self.is_log else value


def decades(values: Sequence[float], name: str, form: str = "{:,g}") -> Axis:
    """Return a logarithmic axis that has all values, with a mark at each power of ten."""
    first, last = floor(log10(min(values))), ceil(log10(max(values)))
    return Axis(name, [(10.0**power, form.format(10.0**power)) for power in range(first, max(last, first + 1) + 1)])


def from_zero(values: Sequence[float], name: str) -> Axis:
    """Return a linear axis from 0 that has all values."""
    step = 10.0 ** floor(log10(max(values)))
    step = step if max(values) / step > 3 else step / 4
    return Axis(
        name, [(step * mark, f"{step * mark:,g}") for mark in range(ceil(max(values) / step) + 1)], is_log=False
    )


def lines(title: str, x: Axis, y: Axis, curves: Sequence[Line], height: int = 400) -> str:
    """Draw lines; the name of each stands at its end."""
    wide, high = WIDTH - LEFT - RIGHT, height - TOP - BOTTOM
    parts = []
    for value, text in x.marks:
        at = LEFT + x.part(value) * wide
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="{TOP}" x2="{at:.1f}" y2="{TOP + high}"/>')
        parts.append(_text(at, TOP + high + 18, text, "middle"))
    for value, text in y.marks:
        at = TOP + high - y.part(value) * high
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{LEFT + wide}" y2="{at:.1f}"/>')
        parts.append(_text(LEFT - 8, at + 4, text, "end"))
    parts.append(_text(LEFT + wide / 2, height - 10, x.name, "middle"))
    parts.append(_text(8, TOP - 12, y.name, "start"))
    ends = []
    for number, curve in enumerate(curves):
        points = [(LEFT + x.part(a) * wide, TOP + high - y.part(b) * high) for a, b in curve.points]
        style = f"c{number % COLOURS}"
        drawn = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(f'<polyline class="line {style}" points="{drawn}"/>')
        parts += [f'<circle class="line {style}" cx="{a:.1f}" cy="{b:.1f}" r="2.5"/>' for a, b in points]
        ends.append((points[-1][1], curve.name, style))
    for at, name, style in _apart(ends):
        parts.append(
            f'<line class="line {style}" x1="{LEFT + wide + 6}" y1="{at:.1f}" x2="{LEFT + wide + 18}" y2="{at:.1f}"/>'
        )
        parts.append(_text(LEFT + wide + 22, at + 4, name, "start"))
    return _document(title, height, parts)


def bars(title: str, values: Sequence[tuple[str, float, str, bool]]) -> str:
    """Draw bars, one below the other.

    Args:
        title: What they show.
        values: Name, value, the value's text, and whether it is ours, of each.
    """
    most = max(value for _, value, _, _ in values)
    parts = []
    for number, (name, value, text, is_ours) in enumerate(values):
        at = TOP + number * BAR
        wide = value / most * (WIDTH - NAMES - 100)
        parts.append(_text(NAMES - 8, at + 17, name, "end"))
        style = "ours" if is_ours else "other"
        parts.append(f'<rect class="{style}" x="{NAMES}" y="{at + 3}" width="{wide:.1f}" height="{BAR - 6}"/>')
        parts.append(_text(NAMES + wide + 6, at + 17, text, "start"))
    return _document(title, TOP + len(values) * BAR + 12, parts)


def _apart(ends: list[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Move names that would lie on each other."""
    placed: list[tuple[float, str, str]] = []
    for at, name, style in sorted(ends):
        placed.append((max(at, placed[-1][0] + 15) if placed else at, name, style))
    return placed


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _document(title: str, height: float, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img">'
    ground = f'<rect class="ground" width="{WIDTH}" height="{height:g}"/>'
    name = f'<text class="title" x="8" y="20">{escape(title)}</text>'
    return "\n".join([head, f"<title>{escape(title)}</title>", _STYLE, ground, name, *parts, "</svg>", ""])
