"""The smoke runs find the Pythons that start, and say which there are not."""

import sys
from pathlib import Path

import pytest

from tests.checks import smoke

THIS = "{}.{}".format(*sys.version_info)
START = f'exec "{sys.executable}" "$@"'


def stand_in(folder: Path, name: str, script: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a path and a pyenv of its own."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    return tmp_path


def test_an_interpreter_on_the_path_is_found(machine: Path) -> None:
    stand_in(machine / "bin", f"python{THIS}", START)
    assert smoke.find(THIS) == str(machine / "bin" / f"python{THIS}")


def test_one_that_does_not_start_is_passed_over(machine: Path) -> None:
    stand_in(machine / "bin", f"python{THIS}", "exit 127")
    stand_in(machine / "pyenv" / "versions" / f"{THIS}.1" / "bin", "python", START)
    assert smoke.find(THIS) == str(machine / "pyenv" / "versions" / f"{THIS}.1" / "bin" / "python")


def test_missing_ones_are_said_loudly_and_fail_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    assert smoke.main(["3.12", "3.13"]) == 0
    said = capfd.readouterr().err
    assert "NOT RUN on Python 3.12" in said
    assert "NOT RUN on Python 3.13" in said


def test_a_failed_run_fails(machine: Path, capfd: pytest.CaptureFixture[str]) -> None:
    stand_in(machine / "bin", f"python{THIS}", START)
    stand_in(machine / "bin", "make", 'echo "make $*"; exit 2')
    assert smoke.main([THIS]) == 1
    out, err = capfd.readouterr()
    assert f"VENV=.venv-{THIS} ARGS=-q -m smoke" in out
    assert f"FAILED on Python {THIS}" in err
