"""The small programs of the other side run, too, and print what ours print.

Ours are run with the tutorials. NATS needs a server that no package brings: its programs are only compiled.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

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


@pytest.mark.parametrize("peer", ["multiprocessing", "rpyc", "zeromq", "dbus"])
def test_the_other_half_prints_the_same(peer: str, tmp_path: Path) -> None:
    for name, text in PROGRAM.findall(PAGES[peer]):
        (tmp_path / name).write_text(text)
    with ExitStack() as stack:
        env = dict(os.environ)
        if peer == "dbus":
            if shutil.which("dbus-daemon") is None:
                pytest.skip("there is no dbus-daemon")
            daemon = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address"]
            env["DBUS_SESSION_BUS_ADDRESS"] = stack.enter_context(started(daemon, tmp_path, env))
        assert stack.enter_context(started([sys.executable, "server.py"], tmp_path, env)) == "ready"
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
def started(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[str]:
    """Start a program, yield the line by which it says that it is there, and end it."""
    with subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()
