"""The benchmarks run and report every figure; what the figures are is not tested."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.checks.tree import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), "--seconds", "0.02", "--repetitions", "1", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50)


@pytest.mark.parametrize(
    ("question", "loop", "expected"),
    [
        ("latency", "uvloop", {("W1", "@1cpu"): 5, ("W1", "unpinned"): 5}),
        ("throughput", "asyncio", {("W2", "unpinned"): 5, ("W3", "unpinned"): 4}),
    ],
)
def test_each_question_is_answered_for_every_subject(
    tmp_path: Path, question: str, loop: str, expected: dict[tuple[str, str], int]
) -> None:
    done = run("run.py", "--only", question, "--loop", loop, "--json", str(tmp_path / "out.json"))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["loop"] == loop
    assert found["versions"]["uvloop"] in done.stdout
    assert found["machine"] in done.stdout
    assert Counter((one["workload"], one["placement"]) for one in found["results"]) == expected
    for one in found["results"]:
        assert one["question"] == question
        assert one["subject"] in done.stdout
        (repetition,) = one["repetitions"]
        assert repetition == one["median"]
        assert all(figure > 0 for figure in repetition.values())


def test_an_unknown_question_is_refused() -> None:
    done = run("run.py", "--only", "speed")
    assert done.returncode == 2
    assert "there is no benchmark 'speed'" in done.stderr


def test_the_hostile_neighbours_are_measured_beside_a_pair_of_their_own(tmp_path: Path) -> None:
    done = run("hostile.py", "--json", str(tmp_path / "out.json"))
    assert "An invoke from renderer to renderer" in done.stdout, done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert (done.returncode, "within the bounds" in done.stdout) in ((0, True), (1, False))
    assert done.returncode == bool(found["wrong"])
    for figures in found["results"].values():
        assert all(figure > 0 for repetition in figures for figure in repetition.values())
    assert found["counters"]["renderers"] > 0


def test_the_memory_of_a_stream_is_told_for_each_direction() -> None:
    script = str(BENCHMARKS / "stream_memory.py")
    command = [sys.executable, script, "--items", "2000", "--slower", "2"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    for direction in ("to main", "from main", "between"):
        assert f"{direction}: 2,000 items" in done.stdout
    assert len([line for line in done.stdout.splitlines() if line.split()[:1] == ["2,000"]]) == 3


def test_a_storm_of_channels_leaves_nothing_and_says_so_for_each_process() -> None:
    # What a process grows by in its first seconds is no leak, and not looked at here.
    arguments = ["--channels", "1200", "--batch", "600", "--growth", "100000"]
    command = [sys.executable, str(BENCHMARKS / "port_storm.py"), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    _, head, *batches, last = done.stdout.splitlines()
    assert all(f"{process} KiB" in head for process in ("daemon", "maker", "user"))
    assert [line.split()[0] for line in batches] == ["600", "1,200"]
    assert [line.split()[3::2] for line in batches] == [["0", "0", "0"]] * 2
    assert last == "nothing is left behind"


def test_a_storm_that_leaves_more_than_it_may_fails() -> None:
    arguments = ["--channels", "40", "--batch", "20", "--growth", "-100000"]
    command = [sys.executable, str(BENCHMARKS / "port_storm.py"), *arguments]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50)
    assert done.returncode == 1
    assert "the daemon has grown by" in done.stdout
