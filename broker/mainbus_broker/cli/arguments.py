"""What the commands read from their command line: the arguments of a message, a channel, a name, another renderer."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer
from mainbus.channels import check_channel

from mainbus_broker.cli import completions
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import say

_MOST_SECONDS: Final = 86_400
_DIGITS: Final = 9


def values(texts: list[str]) -> list[object]:
    """Return the arguments of a message; see `value`."""
    if texts.count("@-") > 1:
        raise Failure("@-: standard input can be read only once", ExitCode.USAGE)
    return [value(text, number) for number, text in enumerate(texts, 1)]


def value(text: str, number: int = 1) -> object:
    """Return one argument of a message.

    Args:
        text: `@file`, the JSON value in a file; `@-`, that in standard input; else a JSON value; else a plain string.
        number: Which argument it is, for a warning about a string that was perhaps meant to be JSON.

    Raises:
        Failure: The file cannot be read or holds no JSON, or the value is nested too deeply.
    """
    if text.startswith("@"):
        return _from_file(text)
    try:
        return _parse(text)
    except json.JSONDecodeError as error:
        if text.startswith(("{", "[", '"')):
            say(f"argument {number} looks like JSON but is not ({_reason(error)}); sent as a string")
        return text
    except (ValueError, RecursionError) as error:
        raise Failure(f"{_short(text)}: {_reason(error)}", ExitCode.USAGE) from None


def channel(text: str) -> str:
    """Return a channel, if it is one."""
    try:
        check_channel(text)
    except TypeError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def target(text: str) -> int | str:
    """Return the id of a renderer if the text is a number, else its name."""
    return int(text) if text.isdecimal() and text.isascii() else text


def seconds(text: str | float) -> float:
    """Return a number of seconds; as typer has it, a default comes as it is."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= _MOST_SECONDS:
        raise typer.BadParameter(f"expected a number of seconds from 0 to {_MOST_SECONDS}, but found {text!r}")
    return number


def whole(least: int) -> Callable[[str | int], int]:
    """Return what reads a whole number."""

    def read(text: str | int) -> int:
        if not str(text).isascii() or not str(text).isdecimal() or len(str(text)) > _DIGITS or int(text) < least:
            raise typer.BadParameter(f"expected a whole number from {least} on, but found {text!r}")
        return int(text)

    return read


Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[ARGS]...", help="JSON values; what is no JSON is a string; @FILE is a file's JSON."),
]
Channel = Annotated[
    str,
    typer.Argument(metavar="CHANNEL", help="The channel.", callback=channel, autocompletion=completions.channels),
]
Address = Annotated[
    str | None,
    typer.Option("--address", "-a", metavar="ADDRESS", help="Where the broker is, such as unix:/run/app.sock."),
]
Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="The name to connect with.")]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="ID|NAME",
        help="Another renderer, not the main process.",
        autocompletion=completions.renderers,
    ),
]
ConnectTimeout = Annotated[
    float,
    typer.Option("--connect-timeout", metavar="SECONDS", parser=seconds, help="How long to wait for a broker."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON for programs.")]


def _from_file(text: str) -> object:
    try:
        if text == "@-":
            return _parse(sys.stdin.buffer.read().decode())
        return _parse(Path(text[1:]).read_text(encoding="utf-8"))
    except OSError as error:
        remedy = "a string that begins with @ is written as JSON: '\"@...\"'"
        raise Failure(f"{text}: cannot be read: {error.strerror}; {remedy}", ExitCode.USAGE) from None
    except (ValueError, RecursionError) as error:
        raise Failure(f"{text}: is not JSON: {_reason(error)}", ExitCode.USAGE) from None


def _parse(text: str) -> object:
    # NaN and Infinity are Python's idea of JSON, nobody else's.
    return json.loads(text, parse_constant=lambda name: _refuse(name, text))


def _refuse(name: str, text: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is not JSON", text, text.find(name))


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        said = "there is more behind the value" if error.msg == "Extra data" else error.msg
        return f"line {error.lineno}, column {error.colno}: {said}"
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _short(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}..."
