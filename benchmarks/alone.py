"""What the questions that run by themselves share: they start processes, hear from them and look at their memory."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

PATIENCE: Final = 30.0
"""Seconds for the daemon to start."""

# The processes.


def tell(what: object) -> None:
    """Tell the parent something."""
    print(json.dumps(what), flush=True)


def prepare() -> None:
    """Set aside what was imported, which nobody need look at, and see to it that the process ends."""
    gc.collect()
    gc.freeze()
    # That something takes long says how busy the machine is.
    logging.getLogger("mainbus").setLevel(logging.ERROR)
    threading.Thread(target=_end_with_stdin, daemon=True).start()


def _end_with_stdin() -> None:
    """End with the parent, however that ends."""
    sys.stdin.read()
    os._exit(0)


# The parent.


def machine() -> str:
    """Return what a table begins with."""
    return f"Python {sys.version.split()[0]}, uvloop {version('uvloop')}, {os.cpu_count()} CPUs"


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start one of the processes."""
    pipe = subprocess.PIPE
    folder = Path(__file__).parent
    return subprocess.Popen([sys.executable, *arguments], stdin=pipe, stdout=pipe, text=True, cwd=folder)


def start_daemon(setup: str, address: str) -> subprocess.Popen[str]:
    """Start a daemon that runs a function of one of these files."""
    return start("-m", "mainbus_broker", "serve", setup, "--address", address, "--log-level", "error")


def told(process: subprocess.Popen[str]) -> Any:
    """Return what a process tells next."""
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a process has ended with {process.wait()}")
    return json.loads(line)


def end(*processes: subprocess.Popen[str]) -> None:
    """End them, whatever they do."""
    for process in processes:
        process.kill()
        process.communicate()


def resident(process: subprocess.Popen[str]) -> int:
    """Return the resident memory of a process in KiB."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def used(process: subprocess.Popen[str]) -> float:
    """Return the CPU time of a process in microseconds."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") * 1e6
