"""What must be reached and what is the goal, a row each, and how the figures of a run compare with them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import connections
import growth
import payload
import peers
import report
from rounds import Cell, Results, middle, ratios

RIVALS: Final = tuple(name for name in peers.FILES if peers.load(name).rival)
"""Peers with a broker between two Python ends: those that "the best" is one of."""

KIB: Final = payload.KIB
MIB: Final = payload.MIB


class Better(Enum):
    """Which way a figure should go."""

    LESS = "≤"
    MORE = "≥"

    def best(self, values: Sequence[float]) -> float:
        return min(values) if self is Better.LESS else max(values)

    def meets(self, value: float, bound: float) -> bool:
        return value <= bound if self is Better.LESS else value >= bound


@dataclass(frozen=True)
class Bound:
    """What is asked for: so many times the figure of another, or a figure by itself."""

    limit: float
    beside: tuple[str, ...] = ()
    """The peers of which the best one counts; none, and the figure itself is compared."""
    name: str = ""
    """How they are called."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    label: str
    cell: Cell
    figure: str
    form: str
    """How the figure is written, such as "{:.1f} µs"."""
    better: Better
    must: Bound | None
    goal: Bound | None
    """None, both: it stands beside another row, and nothing is asked of it."""
    over: str = ""
    """A figure of the same cell that it is divided by."""
    floor: str = ""
    """Whose figure the table shows it beside, although no bound is about that."""

    def rounds(self, results: Results, peer: str) -> list[float | None]:
        cell = self.cell._replace(peer=peer)
        values = results.rounds(cell, self.figure)
        return ratios(values, results.rounds(cell, self.over)) if self.over else values

    def asked(self, bound: Bound | None) -> str:
        """Write a bound."""
        if bound is None:
            return ""
        if bound.beside:
            return f"{self.better.value} {bound.limit:g} x {bound.name}"
        return f"{self.better.value} {self.form.format(bound.limit)}"

    def measured(self, results: Results) -> str:
        value = middle(self.rounds(results, self.cell.peer))
        return self.form.format(value) if value is not None else ""

    def reached(self, results: Results, bound: Bound) -> float | None:
        """Return what stands against the limit: a ratio, taken within each round, or the figure."""
        own = self.rounds(results, self.cell.peer)
        if not bound.beside:
            return middle(own)
        best = self._best(results, bound)
        return middle(ratios(own, self.rounds(results, best))) if best else None

    def ratio(self, results: Results) -> str:
        """Write what stands against must and goal, and beside whom that is."""
        shown = [bound for bound in (self.must, self.goal) if bound is not None and bound.beside]
        if self.floor:
            shown.append(Bound(1, (self.floor,)))
        found: dict[str, None] = {}
        for bound in shown:
            value = self.reached(results, bound)
            if value is not None:
                found[f"{value:.2f} x {self._best(results, bound)}"] = None
        return ", ".join(found)

    def verdict(self, results: Results) -> str:
        """Say whether must and goal are met."""
        if self.must is None or self.goal is None:
            return "to compare"
        must, goal = self._is_met(results, self.must), self._is_met(results, self.goal)
        if must is None:
            return "nothing to compare"
        if not must:
            return "must not met"
        return "goal met" if goal else "must met, goal not"

    def _is_met(self, results: Results, bound: Bound) -> bool | None:
        value = self.reached(results, bound)
        return None if value is None else self.better.meets(value, bound.limit)

    def _best(self, results: Results, bound: Bound) -> str:
        middles = {peer: middle(self.rounds(results, peer)) for peer in bound.beside}
        found = {peer: value for peer, value in middles.items() if value is not None}
        return next((peer for peer, value in found.items() if value == self.better.best(list(found.values()))), "")


def _beside(name: str) -> Callable[[float], Bound]:
    return lambda limit: Bound(limit, (name,), re.split("[:,]", peers.load(name).title)[0])


def _best(limit: float) -> Bound:
    return Bound(limit, RIVALS, "the best")


_pipes: Final = _beside("multiprocessing")
_dbus: Final = _beside("dbus")
_codec: Final = _beside("L2-codec")
_through_broker: Final = _beside("mainbus")


def _raw(name: str) -> Callable[[float], Bound]:
    return lambda limit: Bound(limit, (name,), name)


def _echo(size: int, way: str, peer: str, must: Bound, goal: Bound) -> Row:
    return Row(
        label=f"W5 echo of {report.size(size)}, {way}",
        cell=payload.cell(peer, size),
        figure="mib_s",
        form="{:,.0f} MiB/s",
        better=Better.MORE,
        must=must,
        goal=goal,
    )


def _rate(label: str, cell: Cell, must: Bound, goal: Bound) -> Row:
    return Row(label=label, cell=cell, figure="rate", form="{:,.0f}/s", better=Better.MORE, must=must, goal=goal)


def _time(label: str, cell: Cell, must: Bound, goal: Bound) -> Row:
    return Row(label=label, cell=cell, figure="p50", form="{:.1f} µs", better=Better.LESS, must=must, goal=goal)


def _tail(label: str, cell: Cell, must: Bound | None, goal: Bound | None) -> Row:
    # The floor is what the machine and the loop alone make of it.
    return Row(
        label=label,
        cell=cell,
        figure="p99",
        over="p50",
        form="{:.2f}",
        better=Better.LESS,
        must=must,
        goal=goal,
        floor="L3",
    )


def _growth(kind: str, count: int) -> Row:
    return Row(
        label=f"growth: {count:,} {kind}, to {growth.FEW}",
        cell=growth.cell(kind, count),
        figure="ratio",
        form="{:.2f} x",
        better=Better.LESS,
        must=Bound(1.10),
        goal=Bound(1.02),
    )


_LATENCY: Final = Cell("mainbus", "latency", pinned=True)
_CONNECT: Final = Cell("mainbus", f"connect:{connections.IDLE}")

ROWS: Final = (
    _time("W1 invoke, renderer to main, p50 @1cpu", _LATENCY._replace(peer="mainbus-main"), _pipes(1.4), _pipes(1.0)),
    _time("W1 invoke, renderer to renderer, p50 @1cpu", _LATENCY, _dbus(0.65), _dbus(0.45)),
    _tail("W1 p99 / p50, renderer to renderer", _LATENCY._replace(pinned=False), Bound(2), Bound(1.5)),
    _tail("W1 p99 / p50, the same @1cpu", _LATENCY, None, None),
    _rate("W2 64 in flight, renderer to renderer", Cell("mainbus", "in-flight"), _best(2), _best(4)),
    _rate("W2 64 in flight, renderer to main", Cell("mainbus-main", "in-flight"), _pipes(0.8), _pipes(1.2)),
    _rate("W3 one-way, delivered", Cell("mainbus", "one-way"), _best(1.5), _best(3)),
    _rate("W4 broadcast to 50, deliveries", Cell("mainbus", "broadcast"), _best(0.9), _best(1.4)),
    _echo(64 * KIB, "socket", "mainbus-socket", _best(1), _best(2)),
    _echo(MIB, "socket", "mainbus-socket", _best(1), _raw("L1")(0.9)),
    _echo(16 * MIB, "socket", "mainbus-socket", _best(1), _raw("L1")(0.9)),
    _echo(MIB, "shared memory", "mainbus", _raw("L0")(0.6), _raw("L0")(1)),
    _echo(16 * MIB, "shared memory", "mainbus", _raw("L0")(0.6), _raw("L0")(1)),
    Row(
        label="W6 broker memory of an idle renderer",
        cell=_CONNECT,
        figure="kib",
        form="{:.2f} KiB",
        better=Better.LESS,
        must=Bound(4),
        goal=Bound(2),
    ),
    Row(
        label="W6 time to connect",
        cell=_CONNECT,
        figure="connect",
        form="{:.0f} µs",
        better=Better.LESS,
        must=Bound(150),
        goal=Bound(100),
        floor="L2",
    ),
    _time("W7 port, round trip, p50 @1cpu", _LATENCY._replace(peer="mainbus-port"), _codec(2), _codec(1.3)),
    _rate("W7 port, one-way", Cell("mainbus-port", "one-way"), _through_broker(1), _through_broker(1)),
    *(_growth(kind, count) for kind, counts in growth.STEPS.items() for count in counts),
)


def table(results: Results) -> list[list[str]]:
    """Return the rows that were measured, the first being the heads."""
    found = [["", "must", "goal", "measured", "ratio", ""]]
    for row in ROWS:
        if measured := row.measured(results):
            found.append(
                [
                    row.label,
                    row.asked(row.must),
                    row.asked(row.goal),
                    measured,
                    row.ratio(results),
                    row.verdict(results),
                ]
            )
    return found
