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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.left_out import LIST, LeftOut, read

ROOT = Path(__file__).resolve().parents[2]
PROCESSES = 3
"""How many share the suite. Each is a Python of its own: pytest-xdist's workers do not start under Wine. One more than
what continuous integration has cores, since each waits now and then for processes that start."""
QUICK = ("--capture=sys", "-o", "timeout=0", "-o", "faulthandler_timeout=120")
"""What spares each of thousands of tests some calls of Wine: no files are swapped, and no thread is started. Of a test
without an end faulthandler tells."""
LEFT_BEHIND = 5
"""Seconds that a run's last words may take."""
PATIENCE = 900
"""Seconds after which one of them is ended."""
NO_PACKAGE = 75
"""The exit code of setup.sh where a package cannot be had."""


def main() -> int:
    """Set up, run, report; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="3.11", help="the version of Windows' Python: 3.11, 3.12 or 3.13")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/windows", help="where Wine and Python are set up")
    parser.add_argument("tests", nargs="*", help="what to run in place of all that can run there, as pytest takes it")
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
    groups = [tests] if tests else list(_groups(_files(read(LIST))))
    with ThreadPoolExecutor(PROCESSES) as pool:
        done = pool.map(lambda group: _pytest(python, group), groups)
        ids = [] if tests else _unix_ids()
        results = list(done)
    passed = sum(int(count) for _, last in results for count in re.findall(r"(\d+) passed", last))
    if ids:
        _report(passed, ids)
    print(f"{passed} tests passed on Windows (Wine) in {time.monotonic() - start:.0f} s")
    return max(code for code, _ in results)


def _pytest(python: Path, tests: list[str]) -> tuple[int, str]:
    """Run some tests; returns the exit code and the last line that was said."""
    paths = (ROOT / "broker", ROOT / "client", ROOT)
    env = {
        **os.environ,
        "WINPYTHONPATH": ";".join("Z:" + str(path).replace("/", "\\") for path in paths),
        "WINTIMEOUT": str(PATIENCE),
        "PYTHONUNBUFFERED": "1",
    }
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICK, *tests]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, env=env, text=True, stdout=pipe, stderr=subprocess.STDOUT)
    reader = _Reader(process)
    code = process.wait()
    # What a test has left behind keeps the pipe open until all is ended.
    reader.join(LEFT_BEHIND)
    return code, reader.last


def _end(python: Path) -> None:
    """End all that runs under this Wine."""
    env = {**os.environ, "WINEPREFIX": str(python.parent / "prefix")}
    subprocess.run(["timeout", "60", "wineserver", "-k"], env=env, check=False)


class _Reader(threading.Thread):
    """Passes on what a process says."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self.last = ""
        self._process = process
        self.start()

    def run(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.last = line
            print(line, end="", flush=True)


def _files(listed: list[LeftOut]) -> list[Path]:
    """Return the test files, but for those that are left out as a whole."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [
        file for file in files if not any(entry.names(f"{file.relative_to(ROOT).as_posix()}::*") for entry in listed)
    ]


def _groups(files: list[Path]) -> Iterator[list[str]]:
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
    alone = passed + left.total() - len(ids)
    print(f"{len(ids)} tests run on Unix, {passed} ran here, {alone} of them here alone; {left.total()} were left out:")
    for reason, count in left.most_common():
        print(f"  {count:5}  {reason}")


if __name__ == "__main__":
    sys.exit(main())
