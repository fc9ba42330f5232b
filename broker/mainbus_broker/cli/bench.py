"""`mainbus bench`: how fast mainbus is on this machine."""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Final

import typer
from mainbus.errors import MainbusError

from mainbus_broker.cli.arguments import Json
from mainbus_broker.cli.bench_ends import Ends, loop_factory
from mainbus_broker.cli.bench_measures import MEASURES, Result, measure
from mainbus_broker.cli.failures import explain
from mainbus_broker.cli.output import as_json, show
from mainbus_broker.cli.terminal import Column, console, table

EXAMPLES: Final = """
  mainbus bench
  mainbus bench --seconds 5
  mainbus bench --json | jq '.results[] | {target, invokes_per_second}'
"""

_LEAST: Final = 0.01
_MOST: Final = 7.0
_WARM_UP: Final = 0.2
"""Part of the time that is spent before anything counts."""
_OFTEN: Final = 0.25
"""Seconds between two looks of the progress bar: drawing it takes time from what is measured."""

_COLUMNS: Final = (
    Column("TO"),
    Column("INVOKE, MEDIAN", right=True),
    Column("99 %", right=True),
    Column("INVOKES/S", right=True),
    Column("MESSAGES/S", right=True),
)


def _seconds(text: str | float) -> float:
    """Return how long to measure."""
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not _LEAST <= number <= _MOST:
        raise typer.BadParameter(f"expected a number of seconds from {_LEAST} to {_MOST:g}, but found {text!r}")
    return number


Seconds = Annotated[
    float,
    typer.Option("--seconds", metavar="SECONDS", parser=_seconds, help="How long each of the six measurements takes."),
]


def bench(seconds: Seconds = 2.0, as_lines: Json = False) -> None:
    """Measure how fast mainbus is on this machine.

    A broker and two renderers, each a process of its own, at a private address: how long an invoke of a small dict
    takes, how many go through with 64 under way, and how many one-way messages. Compare figures of one run only: what
    else the machine does moves them.
    """
    # One that this process was given is for another broker.
    os.environ.pop("MAINBUS_TOKEN", None)
    try:
        with Ends() as ends, _progress(len(MEASURES) * 2 * seconds * (1 + _WARM_UP)) as draw:
            results, status = _run(ends.address, seconds, draw)
    except MainbusError as error:
        raise explain(error) from error
    machine = _machine(status)
    if as_lines:
        show(as_json({"machine": machine, "results": [result.as_dict() for result in results]}, compact=True))
    else:
        show(_report(machine, results))


def _run(address: str, seconds: float, draw: Callable[[], object]) -> tuple[list[Result], dict[str, Any]]:
    async def work() -> tuple[list[Result], dict[str, Any]]:
        drawing = asyncio.create_task(_draw_often(draw))
        try:
            return await measure(address, seconds, seconds * _WARM_UP)
        finally:
            drawing.cancel()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(work())


async def _draw_often(draw: Callable[[], object]) -> None:
    while True:
        draw()
        await asyncio.sleep(_OFTEN)


@contextmanager
def _progress(total: float) -> Iterator[Callable[[], object]]:
    """Show a bar on standard error, if that is a terminal; what it gives draws the bar anew."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    screen = console(to_stderr=True)
    bar = BarColumn(style="default", complete_style="green", finished_style="green")
    columns = (TextColumn("measuring"), bar, TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    # Drawn by hand: a thread would compete with what is measured.
    shown = Progress(*columns, console=screen, transient=True, auto_refresh=False, disable=not screen.is_terminal)
    with shown as progress:
        task = progress.add_task("", total=total)
        start = time.monotonic()

        def draw() -> None:
            progress.update(task, completed=min(time.monotonic() - start, total))
            progress.refresh()

        yield draw


def _machine(status: dict[str, Any]) -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "python": status["python"],
        "loop": status["loop"],
        "codec": status["codec"],
        "mainbus": status["version"],
    }


def _report(machine: dict[str, Any], results: list[Result]) -> str:
    head = "{system}, {cpus} CPUs, Python {python}, {loop}, mainbus {mainbus}, {codec} codec".format(**machine)
    rows = [
        [
            result.target,
            f"{result.median * 1e6:.0f} µs",
            f"{result.p99 * 1e6:.0f} µs",
            f"{result.invokes:,.0f}",
            f"{result.messages:,.0f}",
        ]
        for result in results
    ]
    return f"{head}\n\n{table(_COLUMNS, rows)}"
