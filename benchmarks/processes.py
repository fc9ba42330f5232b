"""Starts what is measured, each part a process of its own, and reads what it tells."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final

from common import DESCRIPTORS, Order
from peers.base import Peer

PATIENCE: Final = 60.0

SUBSCRIBERS: Final = 50
"""Who gets a broadcast, in two processes."""

Figures = dict[str, float]


@dataclass
class Options:
    """How everything is measured."""

    seconds: float = 0.25
    repetitions: int = 5
    loop: str = "uvloop"
    shrink: int = 1
    """What the numbers of connections, channels and listeners are divided by."""


class BenchmarkFailed(Exception):
    """A process ended, or did nothing, where it should have measured."""


class Process:
    """One process that was given an order.

    Args:
        command: Its command line, the order included.
        what: How errors call it.
    """

    def __init__(self, command: Sequence[str], what: str) -> None:
        self._what = what
        self._rest = b""
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.pid = self._process.pid
        """The process whose memory and CPU time count: a server that is no Python process tells its own."""

    def wait_until_ready(self) -> None:
        self.pid = self.told()["pid"]

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

    def go(self) -> None:
        """Let it do the next of its workloads."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise BenchmarkFailed(f"{self._what} has ended") from error

    def end(self) -> None:
        """Close its standard input, which ends it, and wait."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Stage:
    """The processes of one measurement, and the folder of their sockets; `with` ends them all."""

    def __init__(self, options: Options, *, pinned: bool = False) -> None:
        self._options = options
        self._cpu = max(os.sched_getaffinity(0)) if pinned else None
        self._stack = ExitStack()
        self.folder = ""

    def __enter__(self) -> Stage:
        self.folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="mb"))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def order(self, role: str, workloads: Iterable[str] = (), *, socket: str = "s", count: int = 1) -> Order:
        """Return an order for a process here."""
        return Order(
            role=role,
            path=f"{self.folder}/{socket}",
            workloads=tuple(workloads),
            seconds=self._options.seconds,
            loop=self._options.loop,
            cpu=self._cpu,
            count=count,
        )

    def start(self, command: Callable[[Order], Sequence[str]], order: Order) -> Process:
        """Start one process that ends with the stage.

        Args:
            command: Makes the command line of an order.
            order: The order.
        """
        process = Process(command(order), order.role)
        self._stack.callback(process.end)
        return process


def measure(peer: Peer, workloads: Sequence[str], options: Options, *, pinned: bool = False) -> dict[str, Figures]:
    """Start the processes of a peer, measure its workloads one after the other, end them."""
    with Stage(options, pinned=pinned) as stage:
        processes = [stage.start(peer.command, stage.order(peer.servers[0]))]
        processes[0].wait_until_ready()
        if "broadcast" in workloads:
            takers = [stage.start(peer.command, stage.order("subscribe", count=SUBSCRIBERS // 2)) for _ in range(2)]
        else:
            takers = [stage.start(peer.command, stage.order(role)) for role in peer.servers[1:]]
        for process in takers:
            process.wait_until_ready()
        driver = stage.start(peer.command, stage.order("drive", workloads))
        driver.wait_until_ready()
        processes += [*takers, driver]
        return {one: _measure(one, processes, takers or processes[:1]) for one in workloads}


def _measure(workload: str, processes: list[Process], takers: list[Process]) -> Figures:
    driver = processes[-1]
    before = [cpu_time(process.pid) for process in processes]
    driver.go()
    figures = driver.told()
    if workload in ("one-way", "broadcast"):
        ends = [process.told() for process in takers]
        messages = sum(end["messages"] for end in ends)
        figures = {
            "rate": messages / (max(end["end"] for end in ends) - figures["start"]) * 1e9,
            "messages": messages,
        }
    spent = [cpu_time(process.pid) - start for process, start in zip(processes, before, strict=True)]
    # The first one is the broker, or the one end that listens.
    return {**figures, "cpu": sum(spent) / figures["messages"], "cpu_broker": spent[0] / figures["messages"]}


def cpu_time(pid: int) -> float:
    """Return the CPU time of a process in microseconds; 0 where the system does not tell that."""
    total = 0
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                total += int(file.read().split()[0])
    except OSError:
        return 0.0
    return total / 1e3


def allow_many_descriptors() -> None:
    """Let the processes that are started from now on have as many connections as a storm makes."""
    if sys.platform == "win32":
        return
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def can_pin() -> bool:
    """Whether this system lets a process choose its CPU."""
    return hasattr(os, "sched_setaffinity")
