"""The example of a worker behind a port runs: three processes, and the main one sees nothing of what they say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.tree import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "worker_behind_a_port"

SAID = [
    ("main", "introduced window to worker"),
    ("window", "the worker says: 4 primes below 10"),
    ("window", "the worker says: 168 primes below 1000"),
    ("window", "the worker says: 9592 primes below 100000"),
]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "run.py")]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50)


@pytest.mark.contract("7.1")
@pytest.mark.smoke
def test_a_window_and_a_worker_talk_along_a_channel_that_the_main_process_has_made() -> None:
    done = run(EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    said = re.findall(r"^  (\w+) +pid (\d+) +(.*)$", done.stdout, re.M)
    assert [(name, text) for name, _, text in said if name != "worker"] == SAID
    # Across two pairs there is no order: only that it comes behind the introduction is certain.
    assert [text for name, _, text in said if name == "worker"] == ["window has closed its port after 3 messages"]
    assert said[0][0] == "main"
    assert len({(name, pid) for name, pid, _ in said}) == len({pid for _, pid, _ in said}) == 3


def test_it_fails_when_the_window_does_and_the_worker_hears_of_it(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "example")
    window = (folder / "window.py").read_text()
    assert "answers = 0" in window
    (folder / "window.py").write_text(window.replace("answers = 0", "raise SystemExit(3)"))
    done = run(folder)
    assert done.returncode == 3
    assert "window has closed its port after" in done.stdout
