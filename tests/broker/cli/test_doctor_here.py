"""What the doctor finds in its own process."""

import importlib.util
import os
import resource

import pytest
from mainbus_broker.cli import doctor_here
from mainbus_broker.cli.doctor_here import examine_here
from mainbus_broker.cli.findings import Finding, Level


def found(topic: str) -> Finding:
    (one,) = [finding for finding in examine_here() if finding.topic == topic]
    return one


def test_versions_are_told() -> None:
    assert [finding.topic for finding in examine_here()] == ["mainbus", "python", "user", "loop", "codec", "open files"]
    assert found("mainbus").level is found("python").level is Level.OK


def test_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert str(found("user")) == f"uid {os.geteuid()}"
    monkeypatch.setenv("SUDO_UID", str(os.geteuid()))
    assert found("user").level is Level.OK
    monkeypatch.setenv("SUDO_UID", str(os.geteuid() + 1))
    assert found("user").remedy == "run both ends as one user"


def test_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found("loop").text.startswith("uvloop ")
    monkeypatch.setattr(doctor_here, "find_spec", lambda name: None)
    assert (found("loop").level, found("loop").remedy) == (Level.HINT, "`pip install uvloop`")
    assert importlib.util.find_spec("uvloop")


def test_the_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_here, "CODEC", "compiled")
    assert found("codec").level is Level.OK
    monkeypatch.setattr(doctor_here, "CODEC", "pure")
    monkeypatch.delenv("MAINBUS_PURE", raising=False)
    assert found("codec").remedy == "reinstall mainbus with a C compiler"
    monkeypatch.setenv("MAINBUS_PURE", "1")
    assert found("codec").remedy == "`unset MAINBUS_PURE`"


@pytest.mark.parametrize(
    ("limits", "level", "word"),
    [
        ((256, 512), Level.HINT, "at most 256 (up to 512)"),
        ((256, resource.RLIM_INFINITY), Level.HINT, "unlimited"),
        ((4096, 4096), Level.OK, "at most 4096"),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), Level.OK, "as many as may be"),
    ],
)
def test_open_files(limits: tuple[int, int], level: Level, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: limits)
    assert found("open files").level is level
    assert word in found("open files").text
