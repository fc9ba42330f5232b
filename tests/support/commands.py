"""The `mainbus` command in processes of its own: commands that end by themselves, and daemons that are ended."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any, Self

if sys.platform != "win32":
    import fcntl
    import pty
    import termios

COMMAND = [sys.executable, "-m", "mainbus_broker"]

PATIENCE = 20.0 if sys.platform != "win32" else 60.0
"""Seconds after which a command that should have ended has failed the test."""


def run(*args: str, stdin: str | bytes = b"", **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `options` as `subprocess.run` has them."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run([*COMMAND, *args], input=data, capture_output=True, timeout=PATIENCE, check=False, **options)
    out, err = done.stdout.decode(), done.stderr.decode()
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


def on_terminal(*args: str, columns: int = 80, **env: str) -> tuple[int, list[str]]:
    """Run a command whose standard output is a terminal; returns its exit code and its lines, with their escapes."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    written = bytearray()
    try:
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        with subprocess.Popen(
            [*COMMAND, *args], stdin=its, stdout=its, stderr=its, env={**kept, "TERM": "xterm-256color", **env}
        ) as process:
            os.close(its)
            # A terminal that nobody writes to any more is an error on Linux, and empty elsewhere.
            with contextlib.suppress(OSError):
                while chunk := os.read(ours, 65536):
                    written += chunk
        return process.returncode, written.decode().replace("\r\n", "\n").splitlines()
    finally:
        os.close(ours)


def plain(line: str) -> str:
    """Return a line without the escapes that give it its style."""
    return re.sub(r"\x1b\[[0-9;]*m", "", line)


class Running:
    """A command that runs on: killed at the end of its context, if it still does.

    Args:
        args: Its arguments.
        argv: The whole command, in place of those.
        options: As `subprocess.Popen` has them.
    """

    def __init__(self, *args: str, argv: Sequence[str] | None = None, **options: Any) -> None:
        self._argv = argv if argv is not None else [*COMMAND, *args]
        self._options = options
        self.process: subprocess.Popen[str]
        self.said: list[str] = []
        """The lines of standard error that were read."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self._argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **{"stdin": subprocess.DEVNULL, **self._options},
        )
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """Return the next line of its standard output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().removesuffix("\n")

    def until(self, text: str) -> str:
        """Return the next line of its standard error that contains a text."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if text in line:
                return line
        raise AssertionError(f"{text!r} was never said:\n{''.join(self.said)}")

    def log(self, text: str) -> dict[str, Any]:
        """Return the next entry of its log that contains a text."""
        entry: dict[str, Any] = json.loads(self.until(text))
        return entry

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, number: signal.Signals | None = None) -> int:
        """Wait until it has ended, after a signal if one is given; returns its exit code."""
        if number is not None:
            self.send(number)
        _, err = self.process.communicate(timeout=PATIENCE)
        self.said += err.splitlines(keepends=True)
        return self.process.returncode


class Serving(Running):
    """`mainbus serve`, which listens once the context is entered.

    Args:
        address: Where; None leaves it to `args`.
        args: More arguments.
        app: The source of a module `app` in `folder`, of which "app:ipc_main" is served.
        folder: Where it runs.
        env: Variables beside those of the tests.
    """

    def __init__(
        self,
        address: str | None,
        *args: str,
        app: str | None = None,
        folder: Path | None = None,
        env: dict[str, str] | None = None,
        **options: Any,
    ) -> None:
        target: Sequence[str] = ()
        if app is not None:
            assert folder is not None
            (folder / "app.py").write_text(PRELUDE + dedent(app))
            target = ["app:ipc_main"]
        where = ["--address", address] if address is not None else []
        super().__init__("serve", *target, *where, *args, cwd=folder, env={**os.environ, **(env or {})}, **options)
        self.start: dict[str, Any] = {}
        """The log's entry that says where it serves."""

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.start = self.log("serving")
        except BaseException:
            self.__exit__()
            raise
        return self


PRELUDE = """
import asyncio, os, sys, time
from mainbus_broker import IpcMain

ipc_main = IpcMain()

def say(*words):
    print(*words, flush=True)

"""
"""What every `app` of `Serving` begins with."""
