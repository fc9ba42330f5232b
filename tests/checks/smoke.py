"""Run the smoke tests on the other supported Pythons that this machine has, each in an environment of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.checks.tree import ROOT

VERSIONS = ("3.12", "3.13")


def main(versions: list[str]) -> int:
    missing, failed = [], []
    for version in versions or VERSIONS:
        python = find(version)
        if python is None:
            missing.append(version)
            continue
        print(f"smoke: Python {version}", flush=True)
        command = [
            "make",
            "--no-print-directory",
            "test",
            f"PYTHON={python}",
            f"VENV=.venv-{version}",
            "ARGS=-q -m smoke",
        ]
        if subprocess.run(command, cwd=ROOT).returncode:
            failed.append(version)
    for version in missing:
        print(f"smoke: NOT RUN on Python {version}: this machine has none", file=sys.stderr)
    for version in failed:
        print(f"smoke: FAILED on Python {version}", file=sys.stderr)
    return int(bool(failed))


def find(version: str) -> str | None:
    """Find an interpreter of this version that starts, on the path or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [shutil.which(f"python{version}"), *sorted(map(str, pyenv.glob(f"versions/{version}.*/bin/python")))]
    # A version manager's stand-in is on the path even where its version is switched off: it must answer.
    return next((path for path in candidates if path and _answers(path, version)), None)


def _answers(python: str, version: str) -> bool:
    ask = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    said = subprocess.run([python, "-c", ask], capture_output=True, text=True)
    return said.returncode == 0 and said.stdout.strip() == version


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
