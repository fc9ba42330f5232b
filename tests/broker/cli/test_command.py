"""The `mainbus` command itself: help, version, usage errors, and what it returns."""

import pytest
import typer
from mainbus_broker import cli
from mainbus_broker.cli import command

COMMANDS = ["serve", "invoke", "send", "listen", "list"]


def test_the_entry_point_is_that_of_the_package() -> None:
    assert cli.main is command.main


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], *([name, "--help"] for name in COMMANDS)])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.startswith(f"Usage: mainbus {'' if len(arguments) == 1 else arguments[0]}")
    if len(arguments) == 1:
        assert all(f"  {name} " in said.out for name in COMMANDS)


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mainbus ")


@pytest.mark.parametrize(
    ("arguments", "reason", "helped"),
    [
        ([], "Missing command", "mainbus"),
        (["lisst"], "No such command 'lisst'", "mainbus"),
        (["--wrong"], "--wrong", "mainbus"),
        (["invoke"], "CHANNEL", "mainbus invoke"),
        (["list", "too much"], "too much", "mainbus list"),
    ],
)
def test_a_usage_error_is_a_line(
    arguments: list[str], reason: str, helped: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mainbus: ")
    assert reason in line
    assert line.endswith(f"(`{helped} --help` explains)")


@pytest.mark.parametrize("error", [KeyboardInterrupt, typer.Abort])
def test_ctrl_c_is_silent(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted() -> None:
        raise error

    (found,) = [info for info in command.app.registered_commands if info.name == "list"]
    monkeypatch.setattr(found, "callback", interrupted)
    assert cli.main(["list"]) == 130
    assert capsys.readouterr() == ("", "")
