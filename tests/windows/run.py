"""`make test-windows`: the suite under Wine, and how much of it ran there beside what runs on Unix."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.support.left_out import LIST, LeftOut, read

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 2
"""How many run at once. Each is a Python of its own: pytest-xdist's workers do not start under Wine."""
PATIENCE = 600
"""Seconds after which one of them is ended."""
NO_PACKAGE = 75
"""The exit code of setup.sh where a package cannot be had."""

LOOPS = "[uvloop"


def main() -> int:
    """Set up, run, report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="3.11", help="the version of Windows' Python: 3.11, 3.12 or 3.13")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/windows", help="where Wine and Python are set up")
    parser.add_argument("tests", nargs="*", help="what to run in place of everything, as pytest takes it")
    options = parser.parse_args()
    code = subprocess.run([ROOT / "tests/windows/setup.sh", options.folder, options.python], check=False).returncode
    if code == NO_PACKAGE:
        print(
            "!" * 100,
            "THE TESTS ON WINDOWS WERE SKIPPED: a package they need cannot be had (see above)",
            "!" * 100,
            sep="\n",
        )
        return 0
    if code:
        return code
    python = options.folder.resolve() / f"winpython-{options.python}"
    try:
        return _run(python, options.tests)
    finally:
        _end(python)


def _run(python: Path, tests: list[str]) -> int:
    start = time.monotonic()
    shares = [tests] if tests else list(_shares(_files(read(LIST))))
    running = [_start(python, share) for share in shares]
    readers = [_Reader(process) for process in running]
    ids = [] if tests else _unix_ids()
    for process in running:
        process.wait()
    # What a test has left behind would keep the pipes open.
    _end(python)
    passed = 0
    for output in [reader.output() for reader in readers]:
        print(output)
        passed += sum(map(int, re.findall(r"(\d+) passed", output.splitlines()[-1] if output else "")))
    if ids:
        _report(passed, ids)
    print(f"{passed} tests passed on Windows (Wine) in {time.monotonic() - start:.0f} s")
    return max(process.returncode for process in running)


def _end(python: Path) -> None:
    """End all that runs under this Wine."""
    env = {**os.environ, "WINEPREFIX": str(python.parent / "prefix")}
    subprocess.run(["timeout", "60", "wineserver", "-k"], env=env, check=False)


class _Reader(threading.Thread):
    """Reads what a process says while others run."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__()
        self._process = process
        self._text = ""
        self.start()

    def run(self) -> None:
        assert self._process.stdout is not None
        self._text = self._process.stdout.read()

    def output(self) -> str:
        """Return what it has said, to the end."""
        self.join()
        return self._text


def _start(python: Path, share: list[str]) -> subprocess.Popen[str]:
    paths = (ROOT / "broker", ROOT / "client", ROOT)
    env = {
        **os.environ,
        "WINPYTHONPATH": ";".join("Z:" + str(path).replace("/", "\\") for path in paths),
        "WINTIMEOUT": str(PATIENCE),
    }
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=5", *share]
    return subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _files(listed: list[LeftOut]) -> list[Path]:
    """Return the test files, but for those that are left out as a whole."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [
        file for file in files if not any(entry.names(f"{file.relative_to(ROOT).as_posix()}::*") for entry in listed)
    ]


def _shares(files: list[Path]) -> Iterator[list[str]]:
    """Yield the files of each process. In turns: what stands together takes about the same time."""
    for first in range(PROCESSES):
        yield [file.relative_to(ROOT).as_posix() for file in files[first::PROCESSES]]


def _unix_ids() -> list[str]:
    """Return the tests that run on this system."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True)
    return [line for line in done.stdout.splitlines() if "::" in line]


def _report(passed: int, ids: list[str]) -> None:
    """Print how many tests there are, and for which reason how many of them do not run on Windows."""
    listed = read(LIST)
    left: Counter[str] = Counter()
    for test in ids:
        reason = next((entry.reason for entry in listed if entry.names(test)), None)
        if reason is None and re.search(r"\[(.*-)?uvloop\b", test):
            reason = "there is no uvloop on Windows: the same test ran on asyncio"
        if reason is not None:
            left[reason] += 1
    print(f"{len(ids)} tests run on Unix, {passed} of them on Windows, {left.total()} were left out:")
    for reason, count in left.most_common():
        print(f"  {count:5}  {reason}")


if __name__ == "__main__":
    sys.exit(main())
