"""Each block of Python in the docs is run by a test; here those that are programs of their own.

Each runs in a process, in a copy of docs/examples, with an address of its own in MAINBUS_ADDRESS, and must end without
an error.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.checks.tree import ROOT
from tests.support.snippets import DOCS, FILES, PAGES, STORIES, named, not_run, programs

PROGRAMS = [
    pytest.param(program, id=f"{page.relative_to(ROOT)}:{line}")
    for page in PAGES
    for line, program in programs(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_block_is_run_by_a_test(page: Path) -> None:
    assert not_run(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(("page", "test"), FILES.items(), ids=lambda item: Path(item).name)
def test_the_test_of_a_page_runs_all_its_files(page: Path, test: str) -> None:
    text = Path(__file__).with_name(test).read_text(encoding="utf-8")
    assert [name for name in (page.name, *named(page)) if name not in text] == []


@pytest.mark.parametrize(
    "line",
    [
        "```python norun",
        "```python norun x",
        "```python norun peer x.py",
        "```py",
        "~~~python",
        "```{code-block} python",
        "> ```python",
        "```Python3",
    ],
)
def test_a_block_that_no_test_runs_is_found(line: str) -> None:
    assert not_run(STORIES[0], f"text\n\n{line}\nx = 1\n```\n") == [line]


def test_a_file_of_a_page_without_a_test_is_found() -> None:
    block = "```python norun main.py\nx = 1\n```\n"
    assert not_run(STORIES[0], block) == []
    assert not_run(DOCS / "index.md", block) == ["```python norun main.py"]


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
    assert not_run(STORIES[0], page) == []
    assert PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_it_runs(program: str, address: str, tmp_path: Path) -> None:
    folder = shutil.copytree(DOCS / "examples", tmp_path / "examples")
    env = {**os.environ, "MAINBUS_ADDRESS": address, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=env, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
