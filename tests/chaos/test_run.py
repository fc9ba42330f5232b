"""A few seconds of chaos: faults happen, messages arrive, nothing is violated, and what is violated is told."""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.chaos.audit import audit
from tests.chaos.ledger import read
from tests.checks.tree import ROOT

CHAOS = [sys.executable, "-m", "tests.chaos.run"]
LAST = re.compile(r"chaos: (\d+) messages, (\d+) faults, 0 violations")


@pytest.mark.contract("2.19", "2.20", "7.2", "7.7", "7.8", "8.6", "9.1", "9.5", "9.6")
def test_a_short_run_has_faults_and_no_violations(request: pytest.FixtureRequest) -> None:
    # Not pytest's own: the path of a socket must be short.
    folder = Path(tempfile.mkdtemp(prefix="mbc"))
    request.addfinalizer(lambda: shutil.rmtree(folder))
    done = subprocess.run(
        [*CHAOS, "--duration", "4", "--seed", "1", "--renderers", "5", "--keep", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=55,
    )
    assert not done.stderr, done.stderr
    found = LAST.fullmatch(done.stdout.splitlines()[-1])
    assert found, done.stdout
    assert done.returncode == 0
    assert int(found[1]) > 500
    assert int(found[2]) > 5
    assert "seed 1" in done.stdout
    books = read(folder)
    # Frames and guests have had their part, and so has who runs without a loop.
    assert {entry.words[0] for book in books for entry in book.all("companion")} == {"frame", "guest"}
    assert any(book.name == "r0" and any(book.all("got")) for book in books)
    # What vanishes from the ledger of a process that has lived is noticed.
    robbed = next(book for book in books if book.left and any(book.all("got")))
    books.remove(robbed)
    assert audit([*books, robbed._replace(entries=tuple(entry for entry in robbed.entries if entry.what != "got"))])
