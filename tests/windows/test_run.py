"""`make test-windows` on a machine that cannot have a package: it says so loudly, and nothing fails."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "mkdir", "mktemp", "realpath", "rm", "timeout")
"""What setup.sh needs of every machine."""
WINE = ("wine", "unzip", "x86_64-w64-mingw32-ld", "x86_64-w64-mingw32-as")
LOUD = "THE TESTS ON WINDOWS WERE SKIPPED"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of commands that are all there is: neither Wine nor a package."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (commands / tool).symlink_to(found)
    for name in ("apt-get", "python3"):
        command(commands / name, "echo cannot be had; exit 100")
    return commands


def command(path: Path, line: str) -> None:
    path.write_text(f"#!/usr/bin/env bash\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


def run(machine: Path, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "tests.windows.run", "--folder", str(folder), *args]
    env = {**os.environ, "PATH": str(machine)}
    return subprocess.run(argv, cwd=ROOT, env=env, text=True, capture_output=True, timeout=60, check=False)


def test_without_wine_it_is_skipped_loudly(machine: Path, tmp_path: Path) -> None:
    done = run(machine, tmp_path / "windows")
    assert (done.returncode, LOUD in done.stdout) == (0, True), done
    assert "apt has no Wine" in done.stderr
    assert (tmp_path / "windows/apt.log").read_text() == "cannot be had\n"


def test_without_a_windows_python_it_is_skipped_loudly(machine: Path, tmp_path: Path) -> None:
    for name in WINE:
        command(machine / name, "exit 0")
    done = run(machine, tmp_path / "windows")
    assert (done.returncode, LOUD in done.stdout) == (0, True), done
    assert "pip has no Python 3.11 for Windows" in done.stderr


def test_a_version_that_nobody_has_is_skipped_loudly(machine: Path, tmp_path: Path) -> None:
    done = run(machine, tmp_path / "windows", "--python", "3.99")
    assert (done.returncode, LOUD in done.stdout) == (0, True), done
    assert "there is no Python 3.99 to test with" in done.stderr


def test_what_is_wrong_in_another_way_fails(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "windows").write_text("a file, where a folder is needed")
    done = run(machine, tmp_path / "windows")
    assert done.returncode not in (0, 75)
    assert LOUD not in done.stdout
