"""The plots of a run: the payload sweep, the growth curve, and bars by peer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import growth
import payload
import peers
import report
import svg
from rounds import Cell, Results

BARS: Final = {
    "latency": (Cell("mainbus", "latency", pinned=True), "p50", "{:,.0f} µs", 1.0, "W1: one invoke, p50 @1cpu"),
    "pipelined": (Cell("mainbus", "in-flight"), "rate", "{:,.1f} k/s", 1e3, "W2: invokes a second, 64 in flight"),
    "one-way": (Cell("mainbus", "one-way"), "rate", "{:,.0f} k/s", 1e3, "W3: one-way messages a second, delivered"),
    "broadcast": (Cell("mainbus", "broadcast"), "rate", "{:,.0f} k/s", 1e3, "W4: deliveries a second to 50"),
}
SWEPT: Final[tuple[str, ...]] = (*payload.SWEPT, "zmq-blocking")
"""Whose payloads are drawn: the fastest peer only at the sizes that matter."""

FLOORS: Final = ("L0", "L1", "L2", "L2-codec", "L3")


def draw(results: Results, folder: Path) -> list[str]:
    """Draw what was measured, and return the names of the files."""
    made = {"payload": _payload, "growth": _growth, **{name: _bars(name) for name in BARS}}
    folder.mkdir(parents=True, exist_ok=True)
    names = []
    for name, draw in made.items():
        if drawn := draw(results):
            (folder / f"{name}.svg").write_text(drawn)
            names.append(f"{name}.svg")
    return names


def _payload(results: Results) -> str:
    curves = []
    for peer in ("mainbus", *(name for name in peers.FILES if name != "mainbus")):
        points = [(size, results.middle(payload.cell(peer, size), "mib_s")) for size in payload.SWEEP]
        found = [(float(size), rate) for size, rate in points if rate is not None]
        if peer in SWEPT and len(found) > 1:
            curves.append(svg.Line(peer, found))
    if not curves:
        return ""
    rates = [rate for curve in curves for _, rate in curve.points]
    sizes = svg.Axis("payload", [(size, report.size(size)) for size in payload.SWEEP[::2]] + _last_size())
    return svg.lines("W5: an echo, both ways together", sizes, svg.decades(rates, "MiB a second"), curves)


def _last_size() -> list[tuple[float, str]]:
    return [] if len(payload.SWEEP) % 2 else [(payload.SWEEP[-1], report.size(payload.SWEEP[-1]))]


def _growth(results: Results) -> str:
    curves = []
    for kind, counts in growth.STEPS.items():
        ratios = [(count, results.middle(growth.cell(kind, count), "ratio")) for count in counts]
        found = [(float(count), ratio) for count, ratio in ratios if ratio is not None]
        if found:
            curves.append(svg.Line(kind, [(float(growth.FEW), 1.0), *found]))
    if not curves:
        return ""
    counts_axis = svg.decades([growth.FEW, 10_000], "how many there are elsewhere")
    costs = svg.from_zero([ratio for curve in curves for _, ratio in curve.points], "CPU of a message, to that with 10")
    return svg.lines("Growth: the cost of one invoke", counts_axis, costs, curves, height=300)


def _bars(name: str) -> Callable[[Results], str]:
    cell, figure, form, scale, title = BARS[name]

    def draw(results: Results) -> str:
        found = []
        for peer in peers.FILES:
            value = results.middle(cell._replace(peer=peer), figure)
            if value is not None and peer not in FLOORS:
                ours = peer.startswith("mainbus")
                found.append((peers.load(peer).title, value, form.format(value / scale), ours))
        found.sort(key=lambda one: one[1], reverse=figure == "rate")
        return svg.bars(title, found) if found else ""

    return draw
