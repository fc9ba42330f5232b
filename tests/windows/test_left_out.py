"""The list of tests that do not run on Windows: each entry has a reason, and names tests that there are."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.support.left_out import LIST, LeftOut, read

TESTS = LIST.parents[1]


def test_every_entry_names_tests_that_there_are() -> None:
    files = {path.relative_to(TESTS.parent).as_posix(): path for path in TESTS.rglob("test_*.py")}
    known = {
        f"{name}::{test}"
        for name, path in files.items()
        for test in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    patterns = [pattern for entry in read(LIST) for pattern in entry.tests]
    assert not [pattern for pattern in patterns if not any(fnmatchcase(test, pattern) for test in known)]


def test_parameters_are_not_looked_at() -> None:
    entry = LeftOut(("tests/a.py::*", "tests/b.py::test_x"), "a reason")
    assert entry.names("tests/a.py::test_y[asyncio-x[1]]")
    assert entry.names("tests/b.py::test_x[asyncio]")
    assert not entry.names("tests/b.py::test_xy")


@pytest.mark.parametrize("entry", ['tests = ["a"]', 'tests = []\nreason = "x"', 'tests = ["a"]\nreason = ""'])
def test_an_entry_without_tests_or_reason_is_refused(entry: str, tmp_path: Path) -> None:
    (tmp_path / "list.toml").write_text(f"[[left_out]]\n{entry}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"list\.toml: an entry has tests and a reason"):
        read(tmp_path / "list.toml")
