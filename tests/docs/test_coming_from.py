"""The small programs of the other side run, too, and print what ours print. Ours are run with the tutorials."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.checks.tree import ROOT

PROGRAM = re.compile(r"^```python norun peer (\w+\.py)\n(.*?)^```$", re.M | re.S)
PAGES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in (ROOT / "docs" / "coming-from").glob("*.md")
    if path.stem != "electron"
}


def test_each_page_has_both_halves() -> None:
    assert len(PAGES) == 5
    for text in PAGES.values():
        assert [name for name, _ in PROGRAM.findall(text)] == ["server.py", "client.py"]
        assert re.findall(r"^```python norun (\w+\.py)$", text, re.M) == ["main.py", "renderer.py"]


@pytest.mark.parametrize("peer", ["multiprocessing", "rpyc", "zeromq", "dbus", "nats"])
def test_the_other_half_prints_the_same(peer: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        env, text = dict(os.environ), PAGES[peer]
        if peer == "dbus":
            env["DBUS_SESSION_BUS_ADDRESS"] = stack.enter_context(dbus_daemon(tmp_path))
        elif peer == "nats":
            text = text.replace("127.0.0.1:4222", stack.enter_context(nats_server(tmp_path)))
        for name, program in PROGRAM.findall(text):
            (tmp_path / name).write_text(program)
        lines = stack.enter_context(started([sys.executable, "server.py"], tmp_path, env))
        assert lines.readline() == "ready\n"
        client = subprocess.run(
            [sys.executable, "client.py"],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert (client.returncode, client.stdout) == (0, "total 2\nchanged to 2\n"), client.stderr


@contextmanager
def dbus_daemon(folder: Path) -> Iterator[str]:
    """Start a daemon of D-Bus; yields its address."""
    if shutil.which("dbus-daemon") is None:
        pytest.skip("there is no dbus-daemon")
    command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"]
    with started(command, folder, os.environ) as lines:
        yield lines.readline().strip()


@contextmanager
def nats_server(folder: Path) -> Iterator[str]:
    """Start a server of NATS on a port of its own choice; yields host and port."""
    if shutil.which("nats-server") is None:
        pytest.skip("there is no nats-server")
    with started(["nats-server", "--addr", "127.0.0.1", "--port", "-1"], folder, os.environ) as lines:
        log = iter(lines.readline, "")
        yield next(line.split()[-1] for line in log if "Listening for client connections" in line)


@contextmanager
def started(command: list[str], folder: Path, env: Mapping[str, str]) -> Iterator[IO[str]]:
    """Start a program, yield what it writes, and end it."""
    pipe, both = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=both, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.kill()
