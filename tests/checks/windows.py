"""Check the types of what only Windows runs, which is not looked at elsewhere: ``python -m tests.checks.windows``."""

import subprocess
import sys

from tests.checks.tree import ROOT, project_files

MARK = 'assert sys.platform == "win32"\n'
"""What each such file says behind its imports; to mypy the rest does not exist on other systems."""
OPTIONS = ["--strict", "--platform", "win32", "--follow-imports", "silent", "--cache-dir", ".mypy_cache/windows"]


def main() -> int:
    """Check them; returns mypy's exit code."""
    sources = [path for path in project_files(ROOT) if path.suffix == ".py"]
    files = [path for path in sources if f"\n{MARK}" in path.read_text(encoding="utf-8")]
    assert files, f"no file says {MARK}"
    return subprocess.run([sys.executable, "-m", "mypy", *OPTIONS, *files], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
