"""The example of a log follower runs: nobody misses a line, the slow viewer sets the pace, the late one catches up."""

import os
import re
import subprocess
import sys

import pytest

from tests.checks.tree import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "log_follower"
LINES = 2000


@pytest.mark.contract("3.8", "3.9", "9.2")
def test_everybody_gets_every_line_and_the_slowest_sets_the_pace() -> None:
    command = [sys.executable, str(EXAMPLE / "run.py")]
    # The viewers print side by side, and without a buffer the end of a line is written apart from it.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=80, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(number == text for number, text in re.findall(r"line (\d+).*: request (\d+) \.+$", done.stdout, re.M))

    joined = {}
    for name in ("quick", "slow", "late"):
        before = [int(number) for number in re.findall(rf"^  {name} +line (\d+), from before", done.stdout, re.M)]
        (last,) = before[-1:] or (0,)
        assert before == list(range(last - len(before) + 1, last + 1))
        joined[name] = last
        (end,) = re.findall(rf"^  {name} +took (\d+) lines, and saw the follower at most (\d+) .*$", done.stdout, re.M)
        assert last + int(end[0]) == LINES
        # A megabyte waits in the broker, another one in the viewer: far less than there is.
        assert int(end[1]) < LINES / 2
    assert joined["quick"] < LINES / 2 <= joined["late"]
    assert len(re.findall("^  late .*from before", done.stdout, re.M)) == 3
