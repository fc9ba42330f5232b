"""The inputs that are kept: a file for each target, a line of hexadecimal digits for each input."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def load(target: str, folder: Path = FOLDER) -> list[bytes]:
    """Return what is kept for a target."""
    path = folder / f"{target}.txt"
    return [bytes.fromhex(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep(target: str, inputs: Iterable[bytes], folder: Path = FOLDER) -> None:
    """Add inputs to what is kept, the short ones first."""
    kept = {*load(target, folder), *inputs}
    lines = sorted((data.hex() for data in kept), key=lambda line: (len(line), line))
    (folder / f"{target}.txt").write_text("".join(f"{line}\n" for line in lines))
