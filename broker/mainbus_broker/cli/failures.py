"""How a command fails: one line for people, an exit code for scripts; docs/reference/command-line.md lists them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from mainbus.errors import (
    AddressError,
    CloneError,
    ConfigError,
    ConnectionLost,
    ConnectRefused,
    InvokeTimeout,
    MainbusError,
    NameTaken,
    NoSuchRenderer,
)


class ExitCode(IntEnum):
    """What the exit code of a command says."""

    DONE = 0
    FAILED = 1
    """The other side raised, refused, or does not exist."""
    USAGE = 2
    """The command line, a file that it names, or the configuration is wrong."""
    UNREACHABLE = 3
    """No broker there, or it refuses, or it went away; for a broker: the address cannot be used."""
    TARGET = 4
    """What `mainbus serve` was to run cannot be imported, or set up, or is nothing to run."""
    TIMEOUT = 124
    """No answer in time; the code of timeout(1)."""
    INTERRUPTED = 130
    """Ctrl-C; as shells have it."""
    PIPE = 141
    """Nobody reads the output any more; as shells have it."""


class Failure(Exception):
    """Ends a command with an exit code and what is said on standard error: mostly a line, or nothing.

    Args:
        text: The line.
        code: The exit code.
        lines: What is said in place of the text, if that is not one line.
    """

    def __init__(self, text: str, code: ExitCode, *, lines: Sequence[str] | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.lines = [text] if lines is None else lines


_UNREACHABLE = (ConnectRefused, ConnectionLost, NameTaken, AddressError)

_REMEDIES: dict[type[MainbusError], str] = {
    NoSuchRenderer: "`mainbus list` shows who is there",
    NameTaken: "give another --name",
    InvokeTimeout: "--timeout gives it more time",
    ConnectRefused: "`mainbus doctor` says more",
}


def explain(error: MainbusError) -> Failure:
    """Return what a command says about an error of mainbus."""
    text = str(error)
    if isinstance(error, ConnectRefused):
        # What a program can do is said in Python's words.
        text = text.replace("set MAINBUS_ADDRESS", "give its --address").replace("connect_timeout", "--connect-timeout")
    remedy = next((text for kind, text in _REMEDIES.items() if isinstance(error, kind)), None)
    return Failure(f"{text}; {remedy}" if remedy else text, _code(error))


def _code(error: MainbusError) -> ExitCode:
    if isinstance(error, InvokeTimeout):
        return ExitCode.TIMEOUT
    if isinstance(error, _UNREACHABLE):
        return ExitCode.UNREACHABLE
    # Of the command's own arguments: what another process cannot clone arrives as a RemoteError.
    if isinstance(error, CloneError | ConfigError):
        return ExitCode.USAGE
    return ExitCode.FAILED
