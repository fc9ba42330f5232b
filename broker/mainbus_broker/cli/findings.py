"""What `mainbus doctor` finds: a line each, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    HINT = "hint"
    """It works, and could be better or may surprise."""
    WRONG = "wrong"
    """It does not work, or is not safe."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        level: How much it matters.
        topic: What was looked at, in a word.
        text: What was found.
        remedy: What to do about it; None where all is well.
    """

    level: Level
    topic: str
    text: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"{self.text}; {self.remedy}" if self.remedy else self.text


def ok(topic: str, text: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(Level.OK, topic, text)


def hint(topic: str, text: str, remedy: str) -> Finding:
    """Return a finding that may want something."""
    return Finding(Level.HINT, topic, text, remedy)


def wrong(topic: str, text: str, remedy: str) -> Finding:
    """Return a finding that has to be mended."""
    return Finding(Level.WRONG, topic, text, remedy)
