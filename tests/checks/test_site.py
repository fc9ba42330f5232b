"""The check of the built documentation follows links and anchors, and sees what is loaded from elsewhere."""

from pathlib import Path

import pytest

from tests.checks import site

PAGE = """<head><link rel="stylesheet" href="static/site.css?v=1"><link rel="canonical" href="https://example.org/">
<script src="static/site.js"></script></head><h1 id="top">Here</h1><img src="data:image/svg+xml;utf8,x">
<a href="#top">here</a> <a href="folder/other.html#part">there</a> <a href="https://example.org/x#y">elsewhere</a>"""


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "static").mkdir()
    (tmp_path / "static" / "site.js").touch()
    (tmp_path / "static" / "site.css").write_text("a { background: url(data:image/png;base64,x) }")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "other.html").write_text('<h2 id="part">Part</h2><a href="../index.html">back</a>')
    (tmp_path / "index.html").write_text(PAGE)
    return tmp_path


def test_good_site_passes(built: Path) -> None:
    assert site.check(built) == []


def test_no_site_is_a_problem(tmp_path: Path) -> None:
    assert site.check(tmp_path) == [f"{tmp_path}: no pages"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<a href="gone.html">', "page.html: gone.html: no such file"),
        ('<a href="#gone">', "page.html: #gone: no such anchor"),
        ('<a href="folder/other.html#gone">', "page.html: folder/other.html#gone: no such anchor"),
        ('<img src="gone.svg">', "page.html: gone.svg: no such file"),
        ('<script src="https://cdn.example.org/x.js"></script>', "page.html: loads https://cdn.example.org/x.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/x">', "page.html: loads //fonts.example.org/x"),
    ],
)
def test_what_is_wrong_is_named(built: Path, text: str, problem: str) -> None:
    (built / "page.html").write_text(text)
    assert site.check(built) == [problem]


def test_a_style_sheet_may_load_nothing_from_elsewhere(built: Path) -> None:
    (built / "static" / "site.css").write_text('@import "https://fonts.example.org/x.css";')
    assert site.check(built) == ["static/site.css: loads https://fonts.example.org/x.css"]
