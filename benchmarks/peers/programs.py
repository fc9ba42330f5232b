"""Servers that are programs of their own: started for one measurement, ended with the process that started them."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import common
from common import Order

PATIENCE: Final = 10.0
"""Seconds in which a server must be there."""


def serve(order: Order, command: Sequence[str], is_up: Callable[[], bool]) -> None:
    """Run a server until this process ends; say that it is ready when it is.

    Args:
        order: The order of this process.
        command: The server's command line.
        is_up: Whether clients can connect.
    """
    log = beside(order.path, "log")
    with log.open("wb") as file:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def end() -> None:
        server.terminate()
        server.wait()

    common.at_end(end)
    wait_for(lambda: is_up() or server.poll() is not None)
    if server.poll() is not None:
        raise SystemExit(f"{command[0]} ended with exit code {server.returncode}: {log.read_text()}")
    common.ready(server.pid)
    threading.Event().wait()


def wait_for(is_there: Callable[[], bool]) -> None:
    """Look again and again until something is there."""
    end = time.monotonic() + PATIENCE
    while not is_there():
        if time.monotonic() > end:
            raise SystemExit(f"nothing came up in {PATIENCE:g} s")
        time.sleep(0.01)


def accepts(path: str) -> bool:
    """Whether somebody listens at a Unix socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
    return True


def beside(path: str, ending: str) -> Path:
    """Return the path of a file that belongs to a socket."""
    return Path(f"{path}.{ending}")
