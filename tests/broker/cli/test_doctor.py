"""`mainbus doctor`: the report, for people and for programs, and its exit code."""

import json
import os
from pathlib import Path

import pytest
from mainbus_broker.cli import main

from tests.support.commands import Serving, on_terminal, plain, run

TOPICS = [
    "mainbus",
    "python",
    "user",
    "loop",
    "codec",
    "open files",
    "address",
    "path",
    "folder",
    "socket",
    "lock file",
]


@pytest.mark.parametrize("columns", [80, 120])
def test_a_set_up_that_works(address: str, columns: int) -> None:
    with Serving(address):
        code, lines = on_terminal("doctor", "-a", address, columns=columns)
    shown = [plain(line) for line in lines]
    assert code == 0
    assert max(map(len, shown)) <= columns
    assert [line.split()[1] for line in shown if line.startswith("ok")][:2] == ["mainbus", "python"]
    # What does not fit goes on below its own column.
    at = shown[0].index("mainbus") + len("open files") + 2
    assert all(line[:at].isspace() for line in shown[:-2] if line.startswith(" "))
    assert shown[-2] == ""
    assert "problem" not in shown[-1]


def test_json_is_a_line_for_each_finding(address: str) -> None:
    with Serving(address):
        done = run("doctor", "--json", "-a", address)
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, done.stderr) == (0, "")
    assert [finding["topic"] for finding in findings] == [*TOPICS, "broker", "versions", "speed", "limits"]
    assert set(findings[0]) == {"level", "topic", "text", "remedy"}
    assert all((finding["remedy"] is None) == (finding["level"] == "ok") for finding in findings)


def test_a_problem_is_a_line_with_a_remedy(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-a", address]) == 1
    *findings, empty, summary = capsys.readouterr().out.splitlines()
    (wrong,) = [line for line in findings if line.startswith("wrong")]
    assert wrong.endswith("; `mainbus serve` starts one")
    assert empty == ""
    assert summary.startswith("1 problem")


def test_it_changes_nothing(address: str) -> None:
    folder = Path(address.removeprefix("unix:")).parent
    assert main(["doctor", "-a", address]) == 1
    assert os.listdir(folder) == []


def test_an_address_that_is_none_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "-a", "tcp:1"]) == 1
    assert "wrong" in capsys.readouterr().out


def test_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--timeout", "x"]) == 2
    assert "--timeout" in capsys.readouterr().err
