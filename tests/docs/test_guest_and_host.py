"""The example of a guest and its host runs, in three processes, and prints what main, guest and frame have to say."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.checks.tree import ROOT

FOLDER = ROOT / "docs" / "examples" / "guest_and_host"


@pytest.mark.contract("7.7", "7.8")
def test_it_runs(address: str) -> None:
    env = {**os.environ, "MAINBUS_ADDRESS": address, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error"}
    daemon = subprocess.Popen(
        [sys.executable, "-m", "mainbus_broker", "serve", "app:ipc_main"],
        cwd=FOLDER,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        editor = subprocess.run(
            [sys.executable, "editor.py"], cwd=FOLDER, env=env, capture_output=True, text=True, timeout=50, check=False
        )
    finally:
        daemon.send_signal(signal.SIGTERM)
        printed, log = daemon.communicate(timeout=20)
    assert editor.returncode == 0, (editor.stderr, log)
    assert daemon.returncode == 0
    assert editor.stdout.splitlines() == ["editor, frame status bar: noted HELLO"]
    guest, frame = printed.splitlines()
    assert re.fullmatch(r"plugin, guest of editor: asked by renderer \d+", guest)
    assert frame == "editor, frame status bar: HELLO"


@pytest.mark.contract("7.8")
def test_it_runs_by_itself() -> None:
    command = [sys.executable, str(FOLDER / "run.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    title, guest, frame, noted = done.stdout.splitlines()
    assert title == "A guest and its host"
    assert re.fullmatch(r"plugin, guest of editor: asked by renderer \d+", guest)
    assert (frame, noted) == ("editor, frame status bar: HELLO", "editor, frame status bar: noted HELLO")
