"""Renderers talk while they and their broker are killed, frozen and lied to; then their ledgers are audited.

    python -m tests.chaos.run [--duration 120] [--seed N] [--renderers 12] [--keep FOLDER]

The last line says `chaos: N messages, F faults, V violations`; the exit status is 1 if there are any, which are listed
before it. A seed brings the same faults and the same traffic again, though not the same races.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.audit import MAIN, Violation, audit, messages
from tests.chaos.faults import HOSTILE, Fault, plan
from tests.chaos.ledger import read
from tests.chaos.processes import Process

MEMORY = 400 * 1024
"""KiB that no process may exceed."""

COMPLAINTS = ("Traceback (most recent call last)", "was never retrieved", "was destroyed but", "was never awaited")
"""What no process may write to its standard error."""


class Chaos:
    """One run.

    Args:
        seed: Where all of it comes from.
        duration: Seconds in which things go wrong.
        renderers: How many.
        folder: For ledgers, logs and the socket.
    """

    def __init__(self, seed: int, duration: float, renderers: int, folder: Path) -> None:
        self.seed = seed
        self.duration = duration
        self.folder = folder
        self.address = f"unix:{folder}/s"
        self.log = (folder / "log").open("ab")
        self.main = Process(MAIN, "broker", self.log)
        self.hostile = Process(HOSTILE, "hostiles", self.log)
        self.renderers = [Process(f"r{number}", module_of(number), self.log) for number in range(renderers)]
        self.faults: list[tuple[float, Fault]] = []
        """Those that have happened, with the time of each in nanoseconds."""
        self.violations: list[Violation] = []
        self._mending: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Do all of it."""
        try:
            await self._start_all()
            measuring = asyncio.create_task(self._measure())
            await self._wreak()
            await self._wind_up()
            measuring.cancel()
        finally:
            for process in (self.hostile, *self.renderers, self.main):
                await process.kill()
            self.log.close()
        self._look_around()
        self.violations += audit(read(self.folder))

    # Private: life of the processes

    async def _start_all(self) -> None:
        await self._start(self.main)
        await self._expect(self.main, "ready")
        for process in (*self.renderers, self.hostile):
            await self._start(process)
        for process in (*self.renderers, self.hostile):
            await self._expect(process, "ready")

    async def _start(self, process: Process) -> None:
        incarnation = process.incarnation + 1
        number = len(self.renderers)
        if process is self.main:
            args: list[object] = [incarnation, number, self.seed]
        elif process is self.hostile:
            args = [incarnation, self.seed]
        else:
            args = [process.name, incarnation, number, self.seed]
        # Both loops, one after the other.
        loop = ("uvloop", "asyncio")[(incarnation + sum(process.name.encode())) % 2]
        await process.start(self.address, str(self.folder), *args, loop)

    async def _expect(self, process: Process, word: str) -> None:
        if not await process.heard(word):
            self._violated(f"{process.name}.{process.incarnation}: has ended, or not said {word!r}")

    async def _measure(self) -> None:
        while True:
            for process in (self.main, *self.renderers):
                process.measure()
            await asyncio.sleep(0.25)

    # Private: faults

    async def _wreak(self) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for fault in plan(self.seed, self.duration, [process.name for process in self.renderers]):
            await asyncio.sleep(start + fault.at - loop.time())
            (process,) = (one for one in (self.main, self.hostile, *self.renderers) if one.name == fault.victim)
            if process.is_down:
                continue
            self.faults.append((now(), fault))
            task = asyncio.create_task(self._do(fault, process))
            self._mending.add(task)
            task.add_done_callback(self._mending.discard)
        await asyncio.sleep(start + self.duration - loop.time())

    async def _do(self, fault: Fault, process: Process) -> None:
        match fault.kind:
            case "cut":
                process.tell("cut")
            case "storm":
                for one in self.renderers:
                    if not one.is_down:
                        one.tell("cut")
            case "freeze" | "freeze-broker":
                process.is_down = True
                process.send(signal.SIGSTOP)
                await asyncio.sleep(fault.lasts)
                process.send(signal.SIGCONT)
                process.is_down = False
            case _:
                # With messages on their way to it that it will never read.
                process.is_down = True
                process.send(signal.SIGSTOP)
                await asyncio.sleep(fault.lasts / 2)
                await process.kill()
                await asyncio.sleep(fault.lasts)
                await self._start(process)

    async def _wind_up(self) -> None:
        """Let everything come to rest, say its last and leave."""
        if self._mending:
            await asyncio.wait(list(self._mending))
        await self.hostile.kill()
        await self._all("idle", self.main)
        await self._all("idle", *self.renderers)
        await self._all("last", *self.renderers)
        await self._all("leave", *self.renderers, answer="left")
        await self._all("leave", self.main, answer="left")
        for process in (*self.renderers, self.main):
            if status := await process.end():
                self._violated(f"{process.name}.{process.incarnation}: has ended with {status}")
            process.is_down = True

    async def _all(self, word: str, *processes: Process, answer: str | None = None) -> None:
        for process in processes:
            process.tell(word)
        await asyncio.gather(*(self._expect(process, answer or word) for process in processes))

    # Private: what is seen from here

    def _look_around(self) -> None:
        for process in (self.main, *self.renderers):
            if process.most > MEMORY:
                self._violated(f"{process.name}: has had {process.most} KiB, which is more than {MEMORY}")
        if left := [path.name for path in self.folder.iterdir() if path.name != "log" and path.suffix != ".ledger"]:
            self._violated(f"left in the socket's folder: {left}")
        text = (self.folder / "log").read_text(errors="replace")
        for complaint in COMPLAINTS:
            if complaint in text:
                at = text.index(complaint)
                self._violated(f"somebody has written {complaint!r}:\n{text[max(0, at - 500) : at + 2500]}")

    def _violated(self, text: str) -> None:
        self.violations.append(Violation(now(), text))

    def near(self, violation: Violation) -> str:
        """Name the fault before a violation."""
        before = [fault for at, fault in self.faults if at <= violation.at]
        return f"behind {before[-1]}" if before else "before any fault"


def module_of(number: int) -> str:
    """Return the program of a renderer: every fourth one is of threads."""
    return "renderer" if number % 4 else "blocking_renderer"


def now() -> int:
    """Return the time on the clock of the ledgers."""
    return time.monotonic_ns()


def report(chaos: Chaos) -> None:
    """Print what was done and found."""
    books = read(chaos.folder)
    attacks = Counter(entry.words[0] for book in books for entry in book.all("fault"))
    kinds = Counter(fault.kind for _, fault in chaos.faults)
    total = messages(books)
    print(f"faults: {', '.join(f'{number} {kind}' for kind, number in sorted(kinds.items()))}")
    print(f"attacks: {', '.join(f'{number} {kind}' for kind, number in sorted(attacks.items()))}")
    lived = [f"{process.name} ({process.incarnation})" for process in (chaos.main, *chaos.renderers)]
    print(f"processes (incarnations): {', '.join(lived)}")
    outcomes = Counter(entry.words[2] for book in books for entry in book.all("end"))
    print(f"outcomes of asks: {', '.join(f'{number} {outcome}' for outcome, number in outcomes.most_common())}")
    told = Counter(entry.words[0] for book in books for entry in book.all("told"))
    undeliverable = sum(1 for book in books for _ in book.all("undeliverable"))
    print(
        f"told: {', '.join(f'{number} {event}' for event, number in told.most_common())}, {undeliverable} undeliverable"
    )
    most = max(process.most for process in chaos.renderers)
    print(f"memory at most: broker {chaos.main.most // 1024} MiB, a renderer {most // 1024} MiB")
    for violation in chaos.violations:
        print(f"VIOLATION {violation.text}\n    {chaos.near(violation)}")
    print(f"chaos: {total} messages, {len(chaos.faults) + attacks.total()} faults, {len(chaos.violations)} violations")


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=120.0, help="seconds")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--renderers", type=int, default=12)
    parser.add_argument("--keep", type=Path, help="a folder for ledgers and logs, which stay there")
    options = parser.parse_args()
    print(f"chaos: seed {options.seed}, {options.duration:g} s, {options.renderers} renderers", flush=True)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="mbc"))
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        chaos = Chaos(options.seed, options.duration, options.renderers, folder)
        asyncio.run(chaos.run())
        report(chaos)
    finally:
        if options.keep is None:
            shutil.rmtree(folder)
    return 1 if chaos.violations else 0


if __name__ == "__main__":
    sys.exit(main())
