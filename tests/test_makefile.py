"""The Makefile is short, explains itself, and is the only way that .ci/run runs anything."""

import re
import subprocess
import tomllib
from importlib.metadata import version

from tests.checks.tree import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = {"help", "demo", "test", "bench", "check", "chaos", "fuzz", "docs"}


def make(*arguments: str) -> str:
    command = ["make", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_it_is_short() -> None:
    assert len(MAKEFILE.splitlines()) < 60


def test_help_is_the_default_and_lists_every_target() -> None:
    shown = make()
    assert shown == make("help")
    (phony,) = (set(line.split()[1:]) for line in MAKEFILE.splitlines() if line.startswith(".PHONY:"))
    assert phony >= TARGETS
    assert {line.split()[1] for line in shown.splitlines()} == phony


def test_nothing_is_installed_twice() -> None:
    assert "-m venv" in make("-n", "test", "VENV=no-such-venv")
    needed = r"^\$\(READY\): pyproject.toml tests/constraints.txt \$\(wildcard .*\.pyx\)$"
    assert re.search(needed, MAKEFILE, re.MULTILINE)


def test_without_python_it_says_what_is_needed() -> None:
    command = ["make", "test", "PYTHON=", "VENV=no-such-venv"]
    failed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert failed.returncode != 0
    assert "mainbus needs Python 3.11 or later" in failed.stderr


def test_ci_only_calls_make() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    targets = [line.split()[1] for line in lines if line.startswith("make ")]
    assert targets == ["check", "docs", "test", "smoke", "test-windows", "chaos", "fuzz"]
    assert "set -euo pipefail" in lines
    assert not any(re.match(r"(python|pip|uv|\.venv)", line) for line in lines)


# The lock: tests/constraints.txt.


def test_every_dependency_is_locked_at_the_version_in_use() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = project["dependencies"] + extras["test"] + extras["docs"] + extras["bench"]
    names = {re.split(r"[<>=;\s\[]", requirement)[0].lower() for requirement in wanted}
    assert names <= locked().keys()


def test_the_environment_has_the_locked_versions() -> None:
    for name in ("anyio", "cbor2", "hypothesis", "msgspec", "pytest"):
        assert locked()[name] == version(name), f"{name}: make again, or make lock"


def locked() -> dict[str, str]:
    lines = (ROOT / "tests" / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {name.lower().replace("_", "-"): pinned for name, pinned in pairs}
