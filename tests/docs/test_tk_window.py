"""The example of a Tk window runs, on a display of its own: it shows what main sends, and its button stops main."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.tree import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "tk_window"


def run(folder: Path, display: str) -> tuple[int, list[tuple[str, str, str]]]:
    """Return the exit code, and what is said: by whom, its process ID, and the text."""
    env = {**os.environ, "DISPLAY": display}
    command = [sys.executable, str(folder / "run.py")]
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=80, check=False)
    assert done.stderr == ""
    return done.returncode, re.findall(r"^  (\w+) +pid (\d+) +(.*)$", done.stdout, re.M)


def edited(folder: Path, before: str, after: str) -> Path:
    """Copy the example, with something else in the window's program."""
    copy = shutil.copytree(EXAMPLE, folder / "example")
    window = (copy / "window.py").read_text()
    assert before in window
    (copy / "window.py").write_text(window.replace(before, after))
    return copy


@pytest.mark.contract("3.14")
def test_the_window_shows_what_the_main_process_sends(display: str) -> None:
    code, said = run(EXAMPLE, display)
    assert code == 0
    shown = [("window", f"shows {percent} %") for percent in (0, 25, 50, 75, 100)]
    assert [(name, text) for name, _, text in said if name == "window"] == shown
    assert [text for name, _, text in said if name == "main"] == ["done"]
    assert len({pid for _, pid, _ in said}) == 2


@pytest.mark.contract("3.14")
@pytest.mark.parametrize("handler", ["createfilehandler", "no_such_method"])
def test_its_button_stops_the_main_process(display: str, tmp_path: Path, handler: str) -> None:
    folder = edited(tmp_path, 'event.reply("shown", percent)', "self._button.invoke()")
    window = (folder / "window.py").read_text().replace('"createfilehandler"', f'"{handler}"')
    (folder / "window.py").write_text(window)
    code, said = run(folder, display)
    assert (code, [(name, text) for name, _, text in said]) == (0, [("main", "stopped")])


def test_the_download_ends_when_somebody_closes_the_window(display: str, tmp_path: Path) -> None:
    folder = edited(tmp_path, 'event.reply("shown", percent)', "self._root.destroy()")
    code, said = run(folder, display)
    # The process may end before the main process has noticed.
    assert code == 0
    assert [(name, text) for name, _, text in said] in ([], [("main", "the window is gone")])
