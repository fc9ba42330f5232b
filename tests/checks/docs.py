"""Check the Markdown files: every relative link and anchor resolves, every Python snippet compiles."""

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from tests.checks.tree import ROOT, project_files

FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,}|~{3,})(?P<language>[\w+-]*)")
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?(?P<target>[^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
DEFINITION = re.compile(r"^\s{0,3}\[[^\]]+\]:\s+<?(?P<target>[^\s>]+)>?")
ANCHOR = re.compile(r"<a\s+(?:id|name)=\"(?P<anchor>[^\"]+)\"")
ELSEWHERE = re.compile(r"^[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True)
class Snippet:
    """A fenced block: its language, the number of its first line, its text without indentation."""

    language: str
    line: int
    text: str


def check(root: Path = ROOT) -> list[str]:
    """Return what is wrong, a line each."""
    pages = [path for path in project_files(root) if path.suffix == ".md"]
    return [problem for page in pages for problem in (*_links(page, root), *_snippets(page, root))]


def split(page: Path) -> tuple[list[tuple[int, str]], list[Snippet]]:
    """Part a page into its numbered lines of prose and its fenced blocks."""
    prose: list[tuple[int, str]] = []
    blocks: list[Snippet] = []
    fence, body, start = None, [""], 0
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if fence is None and (fence := FENCE.match(line)):
            body, start = [], number + 1
        elif fence is None:
            prose.append((number, line))
        elif line.strip().startswith(fence["ticks"]) and not line.strip().strip(fence["ticks"][0]):
            blocks.append(Snippet(fence["language"].lower(), start, textwrap.dedent("\n".join(body))))
            fence = None
        else:
            body.append(line)
    if fence is not None:
        blocks.append(Snippet("unclosed", start - 1, ""))
    return prose, blocks


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of a page, made from its headings as GitHub makes them."""
    found: dict[str, int] = {}
    for _, line in split(page)[0]:
        if heading := re.match(r"#{1,6}\s+(.*?)\s*#*\s*$", line):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
            if found[slug]:
                found[f"{slug}-{found[slug]}"] = 0
        for anchor in ANCHOR.finditer(line):
            found.setdefault(anchor["anchor"], 0)
    return frozenset(found)


def _links(page: Path, root: Path) -> Iterator[str]:
    for number, line in split(page)[0]:
        visible = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line)
        for link in (*LINK.finditer(visible), *DEFINITION.finditer(visible)):
            if not ELSEWHERE.match(link["target"]) and (wrong := _broken(link["target"], page, root)):
                yield f"{page.relative_to(root)}:{number}: {link['target']}: {wrong}"


def _broken(link: str, page: Path, root: Path) -> str | None:
    name, _, anchor = unquote(link).partition("#")
    target = (page.parent / name).resolve() if name else page
    if not target.is_relative_to(root):
        return "leads out of the project"
    if not target.exists():
        return "no such file"
    if anchor and target.suffix == ".md" and anchor not in anchors(target):
        return "no such heading"
    return None


def _snippets(page: Path, root: Path) -> Iterator[str]:
    for block in split(page)[1]:
        place = f"{page.relative_to(root)}:{block.line}"
        if block.language == "unclosed":
            yield f"{place}: this block is never closed"
        elif block.language in ("python", "py"):
            try:
                compile(block.text, place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            except SyntaxError as error:
                yield f"{page.relative_to(root)}:{block.line + (error.lineno or 1) - 1}: {error.msg}"
