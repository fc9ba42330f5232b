"""What goes wrong in a run and when: all of it follows from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from tests.chaos.audit import MAIN

HOSTILE = "hostile"
RESPITE = 4.0
"""Seconds between two faults of the broker: renderers come back, and find each other again."""

KINDS = {"kill": 5, "freeze": 4, "cut": 6, "storm": 1, "kill-hostile": 1, "kill-broker": 1, "freeze-broker": 1}
"""How often each is drawn."""


class Fault(NamedTuple):
    """Something that happens to a process."""

    at: float
    """Seconds from the start."""
    kind: str
    victim: str
    lasts: float
    """Seconds until it is started again, or goes on."""

    def __str__(self) -> str:
        return f"{self.kind} of {self.victim} at {self.at:.1f} s for {self.lasts:.1f} s"


def plan(seed: int, duration: float, names: list[str]) -> Iterator[Fault]:
    """Yield the faults of a run in their order. A short run has the broker killed, too, and each other kind.

    Args:
        seed: Where all of it comes from.
        duration: Seconds.
        names: The renderers.
    """
    dice = random.Random(seed)
    first = list(KINDS)
    dice.shuffle(first)
    at, broker_at = 0.3, 0.0
    while at < duration:
        kind = first.pop() if first else dice.choices(list(KINDS), list(KINDS.values()))[0]
        victim = dice.choice(names)
        if kind.endswith("-broker"):
            victim = MAIN
            if at < broker_at:
                # Later.
                first.insert(0, kind)
                kind, victim = "cut", dice.choice(names)
            else:
                broker_at = at + RESPITE
        elif kind == "kill-hostile":
            victim = HOSTILE
        # Some are frozen for longer than the broker waits for who does not read.
        lasts = dice.uniform(0.05, 3.5) if kind == "freeze" else dice.uniform(0.05, 0.7)
        yield Fault(at, kind, victim, lasts)
        at += dice.expovariate(1 / min(0.8, duration / 16))
