"""What the checks share: where the project is and which files belong to it."""

import ast
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_BY_TOOLS = frozenset({"__pycache__", "build", "dist"})


def project_files(root: Path = ROOT) -> list[Path]:
    """List the files that are, or could be, committed.

    Git knows them where there is a checkout; in an unpacked archive it is every file that no tool leaves behind.
    """
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        try:
            listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
        except (FileNotFoundError, subprocess.CalledProcessError):
            pass  # no git on this machine, or not its checkout: look at the folder instead
        else:
            return sorted(path for name in listed.split("\0") if name and (path := root / name).is_file())
    return sorted(_walk(root))


def _walk(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.name not in LEFT_BY_TOOLS and (path.name == ".ci" or not path.name.startswith(".")):
            yield from _walk(path)


def parse(path: Path) -> ast.Module:
    """Parse a Python file; a syntax error names it."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
