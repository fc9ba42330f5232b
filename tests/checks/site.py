"""Check the built documentation: every link and anchor leads somewhere in it, and nothing is loaded from elsewhere."""

import re
import sys
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

ELSEWHERE = re.compile(r"^(?:[a-z][a-z0-9+.-]*:|//)", re.IGNORECASE)
LOADED = re.compile(r"""(?:url\(\s*|@import\s+)["']?((?:https?:)?//[^"')\s]+)""", re.IGNORECASE)
# What a browser fetches by itself, as opposed to what a reader may follow.
LOADING = {
    ("img", "src"),
    ("script", "src"),
    ("link", "href"),
    ("iframe", "src"),
    ("object", "data"),
    ("source", "src"),
}


class Page(HTMLParser):
    """The anchors of a page, what it links to and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.anchors.update(given[name] for name in ("id", "name") if name in given)
        for name, value in given.items():
            if (tag, name) in LOADING and "canonical" not in given.get("rel", ""):
                self.loads.append(value)
            elif (tag, name) == ("a", "href"):
                self.links.append(value)


def check(site: Path) -> list[str]:
    """Return what is wrong, a line each."""
    pages = sorted(site.rglob("*.html"))
    if not pages:
        return [f"{site}: no pages"]
    return [problem for path in pages for problem in _page(path, site)] + [
        f"{path.relative_to(site)}: loads {address}"
        for path in sorted(site.rglob("*.css"))
        for address in LOADED.findall(path.read_text(encoding="utf-8"))
    ]


@cache
def _read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def _page(path: Path, site: Path) -> Iterator[str]:
    page, name = _read(path), path.relative_to(site)
    for address in page.loads:
        if ELSEWHERE.match(address) and not address.startswith("data:"):
            yield f"{name}: loads {address}"
    for link in (*page.links, *page.loads):
        if not ELSEWHERE.match(link) and (wrong := _broken(link, path)):
            yield f"{name}: {link}: {wrong}"


def _broken(link: str, path: Path) -> str | None:
    file, _, anchor = unquote(link).partition("#")
    target = (path.parent / file.partition("?")[0]).resolve() if file else path
    if not target.is_file():
        return "no such file"
    if anchor and target.suffix == ".html" and anchor not in _read(target).anchors:
        return "no such anchor"
    return None


def main(folder: str) -> int:
    problems = check(Path(folder).resolve())
    print(f"site: {f'{len(problems)} problems' if problems else 'clean'}", *problems, sep="\n  ")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
