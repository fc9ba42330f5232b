"""Fuzzing, guided by coverage: an input that reaches what none has reached before is kept and changed further.

    python -m tests.fuzz.run [--duration 60] [--seed N] [--only wire] [--keep]

An input that fails is written to tests/fuzz/corpus at once, where the test suite runs it from then on; with `--keep`
the others that are worth it are, too. The last line says `fuzz: N inputs, F failures`; with failures the exit status
is 1.
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
import traceback
from pathlib import Path

from mainbus.wire import CODEC

from tests.fuzz import corpus
from tests.fuzz.coverage import Coverage
from tests.fuzz.mutation import mutate
from tests.fuzz.targets import SEEDS, TARGETS, Target

SLOW = 2.0
"""Seconds that one input may take, tracing included."""

ENOUGH = 5
"""Failures of one target after which it is left alone."""


class Fuzzer:
    """One target and what was found of it.

    Args:
        target: What is run.
        pool: The inputs to begin with.
        dice: What decides.
    """

    def __init__(self, target: Target, pool: list[bytes], dice: random.Random) -> None:
        self.coverage = Coverage()
        self.pool: list[bytes] = []
        """Inputs each of which has reached something new."""
        self.failures: list[tuple[bytes, str]] = []
        self.inputs = 0
        self._target = target
        self._dice = dice
        for data in pool:
            self.try_(data)
        self.begun_with = len(self.pool)

    def run(self, until: float) -> None:
        """Try variations until a time of the monotonic clock."""
        while time.monotonic() < until and len(self.failures) < ENOUGH:
            # The latest are the most promising.
            newest = self._dice.random() < 0.3
            base = self._dice.choice(self.pool[-20:] if newest else self.pool) if self.pool else b""
            self.try_(mutate(base, self.pool or [b""], self._dice))

    def try_(self, data: bytes) -> None:
        """Run one input."""
        self.inputs += 1
        begun = time.monotonic()
        try:
            new = self.coverage.trace(lambda: self._target(data))
            took = time.monotonic() - begun
            assert took < SLOW, f"took {took:.1f} s"
        except Exception:
            self.failures.append((data, traceback.format_exc()))
        else:
            if new:
                self.pool.append(data)


def fuzz(
    duration: float, seed: int, names: list[str], *, keep: bool = False, folder: Path = corpus.FOLDER
) -> dict[str, Fuzzer]:
    """Fuzz each target for its part of the duration."""
    found = {}
    for name in names:
        begun = time.monotonic()
        pool = [*SEEDS[name](), *corpus.load(name, folder)]
        fuzzer = found[name] = Fuzzer(TARGETS[name], pool, random.Random(f"{seed} {name}"))
        fuzzer.run(begun + duration / len(names))
        if fuzzer.failures:
            corpus.keep(name, [data for data, _ in fuzzer.failures], folder)
        if keep:
            corpus.keep(name, fuzzer.pool, folder)
    return found


def main() -> int:
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duration", type=float, default=60.0, help="seconds for all targets together")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--only", choices=TARGETS, help="one target")
    parser.add_argument("--keep", action="store_true", help="write what has reached something new to the corpus")
    options = parser.parse_args()
    # Thousands of closed ports are what is asked for, and no news.
    logging.getLogger("mainbus").addHandler(logging.NullHandler())
    names = [options.only] if options.only else list(TARGETS)
    print(f"fuzz: seed {options.seed}, {options.duration:g} s, codec {CODEC}", flush=True)
    found = fuzz(options.duration, options.seed, names, keep=options.keep)
    for name, fuzzer in found.items():
        new = len(fuzzer.pool) - fuzzer.begun_with
        print(f"{name}: {fuzzer.inputs} inputs, {len(fuzzer.coverage.seen)} arcs, {new} inputs have reached new ones")
        for data, text in fuzzer.failures:
            print(f"FAILURE of {name} with {data.hex()}\n{text}")
    failures = sum(len(fuzzer.failures) for fuzzer in found.values())
    print(f"fuzz: {sum(fuzzer.inputs for fuzzer in found.values())} inputs, {failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
