"""The examples of more than one file, in tutorials and "coming from", run as the text says: a daemon, and renderers.

A block that begins with ```python norun NAME.py is such a file, the blocks of one section are one example, and the
section's text blocks hold lines that they print; 4711 stands for any number.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.snippets import DOCS, STORIES

MAIN = ("main.py", "app.py")
PRELOAD = "preload.py"


@dataclass
class Example:
    title: str
    files: dict[str, str] = field(default_factory=dict)
    printed: list[str] = field(default_factory=list)


def examples(page: Path) -> Iterator[Example]:
    for section in re.split(r"^(?=##)", page.read_text(encoding="utf-8"), flags=re.M):
        example = Example(f"{page.name}: {section.splitlines()[0]}")
        for info, text in re.findall(r"^```(.+?)\n(.*?)^```$", section, re.M | re.S):
            if info == "text":
                example.printed += text.splitlines()
            elif file := re.fullmatch(r"python norun (\w+\.py)", info):
                example.files[file[1]] = text
        if example.files:
            yield example


EXAMPLES = [example for page in STORIES for example in examples(page)]


def test_there_are_examples_for_each_pattern() -> None:
    assert len(EXAMPLES) >= 7
    assert len([example for example in EXAMPLES if "Pattern" in example.title]) == 4
    assert all(example.printed for example in EXAMPLES)


def test_each_javascript_has_its_python_beside_it() -> None:
    """They follow each other, a line of text before each: what docs/side_by_side.py looks for."""
    text = (DOCS / "tutorial" / "electron-tutorial.md").read_text(encoding="utf-8")
    pairs = re.findall(
        r"\n\nElectron, .*:\n\n```javascript\n(?:(?!```).*\n)+```\n\nmainbus, .*\n\n```python norun \w+\.py\n", text
    )
    assert len(pairs) == text.count("```javascript") > 0


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.title)
def test_it_runs_and_prints_what_the_text_says(example: Example, address: str, tmp_path: Path) -> None:
    for name, text in example.files.items():
        (tmp_path / name).write_text(text)
    (main,) = [name for name in example.files if name in MAIN]
    *servers, last = [name for name in example.files if name not in (main, PRELOAD)]
    attribute = "setup" if "def setup(" in example.files[main] else "ipc_main"
    env = {**os.environ, "MAINBUS_ADDRESS": address, "PYTHONUNBUFFERED": "1"}

    with ExitStack() as stack, (tmp_path / "printed").open("w+") as printed:

        def start(*arguments: str, log: int | None = None) -> subprocess.Popen[str]:
            command = [sys.executable, *arguments]
            process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=printed, stderr=log, text=True)
            stack.callback(end, process)
            return process

        daemon = start("-m", "mainbus_broker", "serve", f"{main.removesuffix('.py')}:{attribute}", log=subprocess.PIPE)
        assert daemon.stderr is not None
        _read_until(daemon, "serving")
        for name in servers:
            start(name)
            _read_until(daemon, "connected")
        assert start(last).wait(20) == 0
        daemon.send_signal(signal.SIGTERM)
        daemon.stderr.read()
        assert daemon.wait(20) == 0
        daemon.stderr.close()
    found = (tmp_path / "printed").read_text()
    lines = [re.escape(line).replace("4711", r"\d+") for line in example.printed]
    # Two renderers print side by side, one in its own order.
    assert all(re.search(line, found) for line in lines)
    assert servers or re.search(".*".join(lines), found, re.S)


def _read_until(daemon: subprocess.Popen[str], word: str) -> None:
    assert daemon.stderr is not None
    for line in daemon.stderr:
        if word in line:
            return
    pytest.fail(f"the daemon ended before it said {word!r}")


def end(process: subprocess.Popen[str]) -> None:
    """End what runs on, as the reader does with Ctrl-C."""
    if process.poll() is None:
        process.terminate()
        process.wait()
    if process.stderr is not None:
        process.stderr.close()
