"""The files of the page test-your-app.md pass under pytest, with the setting that the page names."""

import subprocess
import sys
from pathlib import Path

from tests.support.snippets import DOCS, named

PAGE = DOCS / "how-to" / "test-your-app.md"


def test_the_fixture_gives_each_test_a_bus(tmp_path: Path) -> None:
    files = named(PAGE)
    assert set(files) == {"conftest.py", "test_greeting.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    setting = 'anyio_mode = "auto"'
    assert setting in PAGE.read_text(encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text(f"[tool.pytest.ini_options]\n{setting}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
