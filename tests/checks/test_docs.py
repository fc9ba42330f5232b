"""The check of the docs follows links and anchors, and compiles snippets."""

from pathlib import Path

import pytest

from tests.checks import docs

PAGE = """\
# Start here

A [file](other.md), a [heading](other.md#send_sync-and-invoke), [its twin](other.md#twice-1), [here](#start-here),
an [anchor](other.md#own), an ![image](a%20b.png), [elsewhere](https://example.org/x#y), a
[reference][r], `[code](no.md)`.

[r]: other.md

- In a list:

  ```python
  async with connect() as renderer:
      await renderer.invoke("x")
  ```

```console
$ [no](link.md)
```
"""
OTHER = '# `send_sync` and *invoke*!\n\n## Twice\n## Twice\n<a id="own"></a>\n'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "other.md").write_text(OTHER)
    (tmp_path / "a b.png").touch()
    return tmp_path


def test_good_page_passes(project: Path) -> None:
    (project / "page.md").write_text(PAGE)
    assert docs.check(project) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("\n[x](gone.md)", "page.md:2: gone.md: no such file"),
        ("[x](other.md#gone)", "page.md:1: other.md#gone: no such heading"),
        ("[x](#gone)", "page.md:1: #gone: no such heading"),
        ("[x](../..)", "page.md:1: ../..: leads out of the project"),
        ("[x]: gone.md", "page.md:1: gone.md: no such file"),
        ("```python\nx = 1\ny = = 2\n```", "page.md:3: invalid syntax"),
        ("```python\nx = 1\n", "page.md:1: this block is never closed"),
    ],
)
def test_what_is_wrong_is_named(project: Path, text: str, problem: str) -> None:
    (project / "page.md").write_text(text)
    assert docs.check(project) == [problem]
