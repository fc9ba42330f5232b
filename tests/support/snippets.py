"""The blocks of Python on the pages, and who runs them: one without a name is a program, one with a name is a file.

A block that begins with ```python is a program of its own, which tests/docs/test_snippets.py runs. One that begins with
```python norun NAME.py is run by another test together with its neighbours: those of the pages in STORIES by
tests/docs/test_tutorials.py, those of the pages in FILES by the test that stands there. ```python norun peer NAME.py is
another project's half of a page in docs/coming-from, for tests/docs/test_coming_from.py (which only compiles those of
NATS: they need a server).
"""

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

from tests.checks.tree import ROOT

DOCS: Final = ROOT / "docs"
README: Final = ROOT / "README.md"
PAGES: Final = [README, *sorted(DOCS.glob("**/*.md"))]
STORIES: Final = [README, *sorted(DOCS.glob("tutorial/*.md")), *sorted(DOCS.glob("coming-from/*.md"))]
FILES: Final = {
    DOCS / "how-to" / "embed.md": "test_embed.py",
    DOCS / "how-to" / "test-your-app.md": "test_test_your_app.py",
}

_BLOCK = re.compile(r"^(?P<indent> *)```python(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_NAMED = re.compile(r" norun (\w+\.py)")
# However it is written: other fences, a directive, a quotation, Python by another name.
_ANY = re.compile(r"(?:`{3,}|~{3,})\s*(?:\{[\w-]+\}\s*)?(?:i?py|python)\w*\b.*", re.I)


def programs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the number of the first line and the text of each block that is a program."""
    for block in _BLOCK.finditer(text):
        if not block["info"]:
            yield text.count("\n", 0, block.start("text")) + 1, dedent(block["text"])


def named(page: Path) -> dict[str, str]:
    """Return the blocks with a name."""
    found = {}
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if name := _NAMED.fullmatch(block["info"]):
            found[name[1]] = dedent(block["text"])
    return found


def not_run(page: Path, text: str) -> list[str]:
    """Return the first line of each block of Python that no test runs."""
    blocks = [block for block in _BLOCK.finditer(text) if _is_run(page, block["info"])]
    run = {text.count("\n", 0, block.start()) for block in blocks}
    return [line for number, line in enumerate(text.splitlines()) if _ANY.search(line) and number not in run]


def _is_run(page: Path, info: str) -> bool:
    if page.parent.name == "coming-from":
        info = info.replace(" peer ", " ")
    return not info or (page in (*STORIES, *FILES) and _NAMED.fullmatch(info) is not None)
