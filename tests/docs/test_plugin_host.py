"""The example of a plugin host runs: each plugin is answered for, and nobody gets more than its role grants."""

import re
import subprocess
import sys

import pytest

from tests.checks.tree import ROOT

FOLDER = ROOT / "docs" / "examples" / "plugin_host"

SAID = [
    ("greedy", "Permission denied: invoke on 'delete-file'"),
    ("greedy", "Permission denied: send_to on 'transform'"),
    ("greedy", "Permission denied: invoke on 'delete-file'"),
    ("host", "greedy says nonsense"),
    ("host", "shout says HELLO"),
    ("host", "stuck does not answer, and is killed"),
    ("host", "3 times somebody wanted more"),
]
LOGGED = [
    ("(greedy)", "(role plugin): invoke on 'delete-file'"),
    ("(greedy)", "(role plugin): send_to on 'transform'"),
    ("", "(role stranger): invoke on 'delete-file'"),
]


@pytest.mark.contract("8.4")
def test_plugins_answer_and_what_they_want_beyond_that_is_refused_and_logged() -> None:
    command = [sys.executable, str(FOLDER / "run.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=80, check=False)
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^  (\w+) +pid \d+ +(.*)$", done.stdout, re.M) == SAID
    logged = re.findall(r"^denied renderer \d+ ?(\(\w+\))? pid \d+ (\(role .*)$", done.stderr, re.M)
    assert logged == LOGGED
    assert len(done.stderr.splitlines()) == len(LOGGED)
