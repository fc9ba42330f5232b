"""The units of the page about systemd: the command has their options, and the socket is where renderers look."""

import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mainbus.address import default_address

from tests.checks.tree import ROOT

PAGE = (ROOT / "docs" / "how-to" / "run-under-systemd.md").read_text(encoding="utf-8")


def unit(ending: str) -> configparser.ConfigParser:
    (text,) = re.findall(rf"`~/\.config/systemd/user/notes\.{ending}`:\n\n```ini\n(.*?)```", PAGE, re.S)
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_command_has_these_options() -> None:
    program, command, _, *options = shlex.split(unit("service")["Service"]["ExecStart"])
    assert program.endswith("/bin/mainbus")
    shown = subprocess.run(
        [sys.executable, "-m", "mainbus_broker", command, "--help"], capture_output=True, text=True, check=True
    )
    assert all(option in shown.stdout for option in options if option.startswith("--"))


def test_the_socket_is_the_default_address_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("MAINBUS_APP", "notes")
    assert unit("service")["Unit"]["Requires"] == "notes.socket"
    assert str(default_address()) == "unix:" + unit("socket")["Socket"]["ListenStream"].replace("%t", str(tmp_path))
