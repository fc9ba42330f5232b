"""Check that nothing in the project names a path of one machine, a package registry, or how the work was organised."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.checks.tree import ROOT, project_files

REGISTRIES = r"(?:pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|crates\.io|(?:index|find)[-](?:url|links))"
FORBIDDEN = {
    "a path of one machine": r"(?<![\w.$}~-])/(?:work|root|Users|opt/pypi|tmp/venv)\b",
    "a package registry": REGISTRIES,
    "how the work was organised": r"(?i)\bsub-?agents?\b|\bthis\x20session\b|\bsession\x20of\x20work\b",
}
# Lists of packages are locked by version alone.
LOCKS = re.compile(r"(?:constraints|requirements).*\.txt$|\.lock$")
ADDRESS = re.compile(r"\w+://|^-", re.MULTILINE)


def check(root: Path = ROOT) -> list[str]:
    """Return what is wrong, a line each."""
    return [problem for path in project_files(root) for problem in _problems(path, root)]


def _problems(path: Path, root: Path) -> Iterator[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return  # no text
    name = path.relative_to(root)
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in (FORBIDDEN | {"a path of this machine": _here(root)}).items():
            if found := re.search(pattern, line):
                yield f"{name}:{number}: names {what}: {found.group()}"
    if LOCKS.search(path.name) and (found := ADDRESS.search(text)):
        yield f"{name}: a lock holds versions and no addresses or options: {found.group()}"


def _here(root: Path) -> str:
    """Match where the project lies on this machine, and what is hidden in the user's home."""
    return f"{re.escape(str(root))}/|{re.escape(str(Path.home()))}/\\."
