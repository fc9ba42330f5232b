"""Pytest plugin: on Windows the tests that tests/windows/left_out.toml names are left out, each with its reason."""

import sys
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

LIST = Path(__file__).resolve().parents[1] / "windows/left_out.toml"


@dataclass(frozen=True)
class LeftOut:
    """One entry of the list: tests that do not run on Windows, and why.

    Attributes:
        tests: As pytest names them, without the parameters in brackets; * stands for any text.
        reason: Why.
    """

    tests: tuple[str, ...]
    reason: str

    def names(self, test: str) -> bool:
        """Tell whether a test is one of these."""
        return any(fnmatchcase(test.partition("[")[0], pattern) for pattern in self.tests)


def read(path: Path) -> list[LeftOut]:
    """Read the list; an entry without tests or a reason is a ValueError that names it."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("left_out", [])
    for entry in entries:
        if set(entry) != {"tests", "reason"} or not entry["tests"] or not entry["reason"]:
            raise ValueError(f"{path.name}: an entry has tests and a reason, and nothing else: {entry}")
    return [LeftOut(tuple(entry["tests"]), entry["reason"]) for entry in entries]


def pytest_configure(config: pytest.Config) -> None:
    if sys.platform == "win32":
        config.pluginmanager.register(Windows(read(LIST), config.rootpath), "left-out")


class Windows:
    """Leaves out what is listed, before it is imported where a whole file is."""

    def __init__(self, listed: list[LeftOut], root: Path) -> None:
        self.listed = listed
        self.root = root

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """Leave out a file whose tests are all listed: it may not even be fit for import."""
        name = collection_path.relative_to(self.root).as_posix() if collection_path.suffix == ".py" else ""
        return True if name and self._is_listed(f"{name}::*") else None

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leave out single tests."""
        left = {item for item in items if self._is_listed(item.nodeid)}
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=list(left))

    def _is_listed(self, test: str) -> bool:
        return any(entry.names(test) for entry in self.listed)
