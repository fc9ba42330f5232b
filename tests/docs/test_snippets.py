"""Each block of Python in the docs is a program that runs.

A block that begins with ```python runs in a process of its own, in a copy of docs/examples, with an address of its
own in MAINBUS_ADDRESS; it must end without an error. One that begins with ```python norun NAME.py is run by another
test of this folder, together with its neighbours. One without a name is not run, and counted in NOT_RUN.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from tests.checks.tree import ROOT

BLOCK = re.compile(r"^(?P<indent> *)```python(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
DOCS = ROOT / "docs"


def programs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line and the text of each block that is to run."""
    for block in BLOCK.finditer(text):
        if "norun" not in block["info"].split():
            yield text.count("\n", 0, block.start("text")) + 1, dedent(block["text"])


PROGRAMS = [
    pytest.param(program, id=f"{page.relative_to(DOCS)}:{line}")
    for page in sorted(DOCS.glob("**/*.md"))
    for line, program in programs(page.read_text(encoding="utf-8"))
]

# Programs with a window, and what only makes sense in a program of the reader's own.
NOT_RUN = {"how-to/embed.md": 1, "how-to/use-from-threads.md": 2, "how-to/test-your-app.md": 1}


def test_what_is_not_run_is_known() -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in DOCS.glob("**/*.md")}
    found = {page.relative_to(DOCS).as_posix(): text.count("```python norun\n") for page, text in pages.items()}
    assert {page: count for page, count in found.items() if count} == NOT_RUN


def test_blocks_are_found() -> None:
    page = """
```python
x = 1
```

```python norun main.py
y = 2
```

```console
$ z
```

- In a list:

  ```python
  if x:
      pass
  ```
"""
    assert list(programs(page)) == [(3, "x = 1\n"), (17, "if x:\n    pass\n")]
    assert PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_runs(program: str, address: str, tmp_path: Path) -> None:
    folder = shutil.copytree(DOCS / "examples", tmp_path / "examples")
    env = {**os.environ, "MAINBUS_ADDRESS": address, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
