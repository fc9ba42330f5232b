"""RegExp: what a compiled pattern arrives as. Applications compile it, or not."""

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["RegExp", "of_pattern"]

FLAGS: Final = "dgimsuvy"
"""JavaScript's letters; the wire and `RegExp.flags` have them in this order."""

# The others say how JavaScript matches (g, y), what a match holds (d), or what is always so in Python (u, v).
COMPILED: Final = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL}

# Flags of Python that change the meaning and have no letter in JavaScript: they go into the source.
INLINE: Final = {"a": re.ASCII, "x": re.VERBOSE}


@dataclass(frozen=True, slots=True)
class RegExp:
    """A regular expression that nobody compiled yet. It can be sent on, compared, and used as a key.

    Args:
        source: the pattern, as its sender wrote it: in Python's syntax, or in JavaScript's.
        flags: letters out of JavaScript's ``dgimsuvy``, each at most once; kept in that order.

    Raises:
        TypeError: not text.
        ValueError: an unknown or repeated flag.
    """

    source: str
    flags: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(part, str) for part in (self.source, self.flags)):
            raise TypeError("A RegExp is made of two strings, source and flags")
        flags = "".join(sorted(self.flags))
        if any(flag not in FLAGS for flag in flags) or len(set(flags)) < len(flags):
            raise ValueError(f"Invalid flags {self.flags[:20]!r}: each may be one of {FLAGS!r}, once")
        object.__setattr__(self, "flags", flags)

    def compile(self) -> re.Pattern[str]:
        """Compile it with Python's ``re``.

        Compile only what comes from somebody you trust: matching a stranger's pattern may take for ever.

        Returns:
            The pattern; ``i``, ``m`` and ``s`` have their meaning, the other letters none.

        Raises:
            re.error: Python does not understand the source.
        """
        flags = re.NOFLAG
        for letter in self.flags:
            flags |= COMPILED.get(letter, re.NOFLAG)
        return re.compile(self.source, flags)


def of_pattern(pattern: re.Pattern[str]) -> RegExp:
    """Return what a compiled pattern of text arrives as."""
    source = pattern.pattern
    said = re.match(r"(?:\(\?[aimsux]+\))*", source)
    inline = "".join(
        letter for letter, flag in INLINE.items() if pattern.flags & flag and (said is None or letter not in said[0])
    )
    flags = "".join(letter for letter, flag in COMPILED.items() if pattern.flags & flag)
    return RegExp(f"(?{inline}){source}" if inline else source, flags)
