"""The example of a reply stream runs: the window takes answers in both ways, and the generator ends when it leaves."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.tree import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "reply_stream"

SAID = [
    *[("window", "got response data: 42")] * 3,
    ("window", "stream ended"),
    *[("window", f"found port in line {number}") for number in (1, 2, 3)],
    ("main", "nobody wants more of 'port'"),
]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "run.py")]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50)


@pytest.mark.contract("6.1", "6.2", "7.1")
@pytest.mark.smoke
def test_one_question_and_many_answers_in_both_ways() -> None:
    done = run(EXAMPLE)
    assert (done.returncode, done.stderr) == (0, "")
    said = re.findall(r"^  (\w+) +pid (\d+) +(.*)$", done.stdout, re.M)
    assert [(name, text) for name, _, text in said] == SAID
    assert len({pid for _, pid, _ in said}) == 2


def test_the_generator_ends_when_the_window_dies_and_the_example_fails(tmp_path: Path) -> None:
    folder = shutil.copytree(EXAMPLE, tmp_path / "example")
    window = (folder / "window.py").read_text()
    assert "                break\n" in window
    broken = window.replace("import mainbus\n", "import os\n\nimport mainbus\n", 1)
    (folder / "window.py").write_text(broken.replace("                break\n", "                os._exit(3)\n"))
    done = run(folder)
    assert done.returncode == 3
    assert SAID[-1][1] in done.stdout
