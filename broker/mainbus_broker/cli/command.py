"""The `mainbus` command itself: finds its subcommands, and ends with a line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from io import TextIOWrapper
from typing import Annotated, Any, Final

import typer

from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import say, show
from mainbus_broker.cli.parsing import MessageCommand
from mainbus_broker.cli.subcommands import CONTEXT, Subcommands
from mainbus_broker.versions import python_version, version_of

# typer exports only the subclass.
_UsageError: Final[type[Exception]] = typer.BadParameter.__bases__[0]

app: Final = typer.Typer(
    name="mainbus",
    cls=Subcommands,
    pretty_exceptions_enable=False,
    # Plain text, whatever else is installed.
    rich_markup_mode=None,
    context_settings=CONTEXT,
    epilog="""
        \b
        Try it, each in a terminal of its own:
          mainbus serve
          mainbus listen news --name ears
          mainbus send --to ears news "Hello"
        What is there, and what is wrong:
          mainbus list
          mainbus doctor
    """,
)


def _version(wanted: bool) -> None:
    if wanted:
        show(f"mainbus {version_of('mainbus')}, Python {python_version()}")
        raise typer.Exit


@app.callback()
def mainbus(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show versions.")
    ] = False,
) -> None:
    """Electron's IPC for Python: run a broker, or speak to one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line without the program; None is that of this process.

    Returns:
        The exit code; docs/reference/command-line.md lists them.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A letter that a terminal does not have is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    command = typer.main.get_command(app)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = command.main(given or ["--help"], prog_name="mainbus", standalone_mode=False)
    except Failure as failure:
        for line in failure.lines:
            say(line)
        return failure.code
    except _UsageError as error:
        say(_usage(error))
        return ExitCode.USAGE
    except (KeyboardInterrupt, typer.Abort):
        return ExitCode.INTERRUPTED
    return code if isinstance(code, int) else ExitCode.DONE


def _usage(error: Exception) -> str:
    context: Any = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "mainbus"
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        text = f"No such option: {option}; {_instead(option, context)}"
    else:
        # Who checks the value says so in front of what is wrong with it.
        text = getattr(error, "format_message", error.__str__)().replace("Value error, ", "")
    return f"{' '.join(text.split())} (`{command} --help` explains)"


def _instead(option: str, context: Any) -> str:
    """Say what was meant by an option that there is not."""
    if context is None or context.parent is None:
        return "the options of a command come after its name, as in `mainbus list --address ...`"
    known = [name for param in context.command.get_params(context) for name in param.opts if name.startswith("--")]
    if close := get_close_matches(option, known, n=2, cutoff=0.7):
        return f"did you mean {' or '.join(close)}?"
    if isinstance(context.command, MessageCommand):
        return "an argument that begins with a dash comes after `--`"
    return f"there are {', '.join(known)}"
