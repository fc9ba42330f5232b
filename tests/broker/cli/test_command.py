"""The `mainbus` command itself: help, version, usage errors, and what it returns."""

import pytest
import typer
from mainbus_broker import cli
from mainbus_broker.cli import command
from mainbus_broker.cli import list as list_module
from mainbus_broker.cli.subcommands import COMMANDS


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
    else:
        assert f"  Examples:\n    mainbus {arguments[0]}" in said.out


def test_alone_it_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert capsys.readouterr().out.startswith("Usage: mainbus [OPTIONS] COMMAND")


def test_the_help_of_all_commands_is_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["--help"])
    listed = capsys.readouterr().out.split("Commands:\n")[1].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("serve", "[MODULE:ATTRIBUTE]"),
        ("invoke", "CHANNEL [ARGS]..."),
        ("send", "CHANNEL [ARGS]..."),
        ("listen", "CHANNEL..."),
        ("list", ""),
    ],
)
def test_usage_and_arguments_have_no_types_of_python(name: str, usage: str, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main([name, "--help"])
    said = capsys.readouterr().out
    assert said.splitlines()[0] == f"Usage: mainbus {name} [OPTIONS] {usage}".rstrip()
    assert not any(word in said for word in ("<str>", "<int", "<float", "<list"))


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mainbus ")


@pytest.mark.parametrize(
    ("arguments", "reason", "helped"),
    [
        (["lisst"], "No such command: lisst; did you mean list or listen?", "mainbus"),
        (["xyz"], "No such command: xyz; there are serve, invoke,", "mainbus"),
        (["--wrong"], "--wrong", "mainbus"),
        (["-a", "unix:/x", "list"], "the options of a command come after its name", "mainbus"),
        (["invoke"], "CHANNEL", "mainbus invoke"),
        (["invoke", "echo", "-x"], "-x; an argument that begins with a dash comes after `--`", "mainbus invoke"),
        (["invoke", "echo", "--tomeout", "1"], "--tomeout; did you mean --timeout?", "mainbus invoke"),
        (["list", "-z"], "-z; there are --address, --timeout", "mainbus list"),
        (["listen", "a", "--count", "0"], "expected a whole number from 1 on, but found '0'", "mainbus listen"),
        (["send", "a", "--timeout", "abc"], "a number of seconds from 0 to 86400, but found 'abc'", "mainbus send"),
        (["serve", "--drain", "nan"], "a number of seconds from 0 to 86400, but found 'nan'", "mainbus serve"),
        (["serve", "--loop", "trio"], "Invalid value for '--loop': 'trio' is not one of 'auto'", "mainbus serve"),
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

    monkeypatch.setattr(list_module, "run", lambda *args, **options: interrupted())
    assert cli.main(["list"]) == 130
    assert capsys.readouterr() == ("", "")
