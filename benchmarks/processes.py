"""Starts what is measured, each part a process of its own, and repeats everything interleaved."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

from common import Order

PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Subject:
    """Something that is measured."""

    name: str
    script: str
    """The file whose `roles` its processes run."""
    servers: tuple[str, ...]
    """Roles that are started one after the other before the driver; the last one counts one-way messages."""
    driver: str = "drive"


@dataclass
class Options:
    """How everything is measured."""

    seconds: float = 1.0
    repetitions: int = 5
    loop: str = "uvloop"


@dataclass
class Series:
    """All figures of one subject in one placement, a repetition each."""

    subject: Subject
    pinned: bool
    figures: list[dict[str, float]] = field(default_factory=list)


class BenchmarkFailed(Exception):
    """A process ended, or did nothing, where it should have measured."""


class Process:
    """One process that was given an order."""

    def __init__(self, subject: Subject, order: Order) -> None:
        self._what = f"{subject.name}: {order.role}"
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, subject.script, order.to_json()], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def told(self) -> dict[str, Any]:
        """Wait for what it tells next."""
        assert self._process.stdout is not None
        deadline = monotonic() + PATIENCE
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not selector.select(deadline - monotonic()):
                    raise BenchmarkFailed(f"{self._what} told nothing for {PATIENCE:g} s")
                chunk = os.read(self._process.stdout.fileno(), 65536)
                if not chunk:
                    raise BenchmarkFailed(f"{self._what} ended with exit code {self._process.wait()}")
                self._rest += chunk
        line, self._rest = self._rest.split(b"\n", 1)
        result: dict[str, Any] = json.loads(line)
        return result

    def end(self) -> None:
        """Close its standard input, which ends it, and wait."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


def measure(subject: Subject, workload: str, options: Options, *, pinned: bool) -> dict[str, float]:
    """Start the processes of a subject, measure once, end them."""
    with tempfile.TemporaryDirectory(prefix="mb") as folder, ExitStack() as stack:

        def start(role: str) -> Process:
            order = Order(
                role=role,
                workload=workload,
                path=f"{folder}/s",
                seconds=options.seconds,
                loop=options.loop,
                cpu=max(os.sched_getaffinity(0)) if pinned else None,
            )
            process = Process(subject, order)
            stack.callback(process.end)
            return process

        for role in subject.servers:
            server = start(role)
            server.told()
        figures = start(subject.driver).told()
        if workload == "one-way":
            last = server.told()
            return {"rate": last["count"] / (last["end"] - figures["start"]) * 1e9}
        return figures


def interleaved(
    subjects: Sequence[Subject], workload: str, options: Options, placements: Sequence[bool]
) -> Iterator[Series | None]:
    """Measure every subject in every placement in each repetition, so that noise falls on all alike.

    Yields None after each measurement, for whoever shows progress, and all series at the end.
    """
    series = [Series(subject, pinned) for pinned in placements for subject in subjects]
    for _ in range(options.repetitions):
        for one in series:
            one.figures.append(measure(one.subject, workload, options, pinned=one.pinned))
            yield None
    yield from series


def can_pin() -> bool:
    """Whether this system lets a process choose its CPU."""
    return hasattr(os, "sched_setaffinity")
