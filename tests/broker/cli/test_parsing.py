"""How command lines are read: negative numbers, text without pydantic, and everything else as typer has it."""

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import pytest
import typer
from mainbus_broker.cli import arguments
from mainbus_broker.cli.arguments import Arguments, To, whole
from mainbus_broker.cli.parsing import Command, MessageCommand


def command() -> tuple[Callable[[list[str]], object], list[str]]:
    """Return a command that takes arguments as ours do, and what it has got."""
    app, got = typer.Typer(), []

    @app.command(cls=MessageCommand)
    def take(args: Arguments = None, to: To = None) -> None:
        got.extend(args or [])

    return partial(typer.main.get_command(app).main, standalone_mode=False), got


@pytest.mark.parametrize("text", ["-1", "-0", "-1.5", "-12e3", "-1.5E-7", "1", "-"])
def test_a_negative_number_is_an_argument(text: str) -> None:
    run, got = command()
    run([text, "--to", "x"])
    assert list(map(arguments.value, got)) == [arguments.value(text)]


@pytest.mark.parametrize("text", ["-x", "-01", "-1.", "--too", "-1x"])
def test_anything_else_with_a_dash_is_an_option_unless_it_stands_behind_two(text: str) -> None:
    run, got = command()
    with pytest.raises(typer.BadParameter.__bases__[0], match="No such option"):
        run([text])
    run(["--", text])
    assert got == [text]


def test_what_is_no_text_is_read_by_typer() -> None:
    app, got = typer.Typer(), []

    @app.command(cls=Command)
    def take(
        file: Path,
        numbers: Annotated[list[int] | None, typer.Option(parser=whole(0))] = None,
        names: Annotated[list[str] | None, typer.Option()] = None,
        flag: bool = False,
    ) -> None:
        got.extend([file, numbers or [], names or [], flag])

    run = partial(typer.main.get_command(app).main, standalone_mode=False)
    run(["x/y"])
    run(["x", "--numbers", "1", "--numbers", "2", "--names", "3", "--flag"])
    assert got == [Path("x/y"), [], [], False, Path("x"), [1, 2], ["3"], True]


@pytest.mark.parametrize("name", ["send", "invoke", "list"])
def test_a_renderer_starts_without_what_takes_long_to_import(name: str) -> None:
    code = f"import sys; from mainbus_broker.cli import main; main([{name!r}, '--help']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "mainbus_broker.cli." + name in loaded
    assert not loaded & {
        "pydantic",
        "rich",
        "uvloop",
        "mainbus_broker.broker",
        "mainbus_broker.daemon",
        "multiprocessing",
    }
