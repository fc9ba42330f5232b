"""The example of a worker pool runs: progress, a cancelled job, and a killed worker whose job another one does."""

import re
import subprocess
import sys

import pytest

from tests.checks.tree import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "worker_pool"


def run() -> list[tuple[str, str, str]]:
    """Return what is said: by whom, its process ID, and the text."""
    command = [sys.executable, str(EXAMPLE / "run.py")]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=80, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return re.findall(r"^  (\S+) +pid (\d+) +(.*)$", done.stdout, re.M)


@pytest.mark.contract("5.5", "6.2", "9.5")
def test_jobs_have_progress_one_is_cancelled_and_one_survives_its_worker() -> None:
    said = run()
    for number, primes in enumerate((2262, 1941, 1854), 1):
        job = [(name, text) for name, _, text in said if text.startswith(f"job {number}:")]
        steps, (last,) = job[:-1], job[-1:]
        assert [text for _, text in steps] == [f"job {number}: {percent} %" for percent in (25, 50, 75, 100)]
        assert len({name for name, _ in steps}) == 1
        assert last == ("main", f"job {number}: {primes} primes")
    assert {name for name, _, text in said if text.startswith("job")} == {"main", "worker-1", "worker-2"}

    texts = [text for _, _, text in said]
    (stopped,) = [text for text in texts if text.startswith("stopped")]
    assert texts.index("cancelling a long job") < texts.index(stopped)
    # At once: of a thousand million numbers it has looked at few.
    assert int(re.sub(r"\D", "", stopped)) > 990_000_000

    (victim,) = [text.removeprefix("killing ") for text in texts if text.startswith("killing")]
    (heir,) = [name for name, _, text in said if text == "did the job of the killed worker"]
    assert heir != victim
    assert said[-1][0::2] == ("main", "in spite of that: 5133 primes")
