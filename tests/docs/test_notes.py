"""The example of an application's structure runs: three processes, and each says what the page promises."""

import os
import subprocess
import sys

from tests.checks.tree import ROOT


def test_the_application_runs() -> None:
    command = [sys.executable, "-m", "notes"]
    # Three processes print side by side, and without a buffer the end of a line is written apart from it.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        command, cwd=ROOT / "docs" / "examples", env=env, capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0
    said = done.stdout.splitlines()
    assert [line for line in said if line.startswith("viewer")] == ["viewer: 1 Shopping", "viewer: 2 Reading"]
    assert [line for line in said if line.startswith("editor")] == [
        "editor: bread, tea",
        "editor: there is no note 99",
    ]
    # The main process logs what a handler raises, and nothing else.
    assert done.stderr.startswith("Error occurred in handler for 'notes:get'")
    assert done.stderr.count("Traceback") == 1
