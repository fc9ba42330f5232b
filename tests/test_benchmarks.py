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


def figures(path: Path) -> dict[tuple[str, str, str], list[dict[str, float]]]:
    found = json.loads(path.read_text())
    assert found["failed"] == {}
    return {(one["peer"], one["workload"], one["placement"]): one["rounds"] for one in found["results"]}


@pytest.mark.parametrize(
    ("questions", "loop", "peers", "expected"),
    [
        ("latency", "uvloop", "L2,mainbus", {("latency", "@1cpu"): 2, ("latency", "unpinned"): 2}),
        (
            "pipelined,one-way,payload",
            "asyncio",
            "mainbus-main",
            {("in-flight", "unpinned"): 1, ("one-way", "unpinned"): 1, ("payload", "unpinned"): 3},
        ),
        ("broadcast", "uvloop", "mainbus", {("broadcast", "unpinned"): 1}),
    ],
)
def test_each_question_is_answered_for_every_peer(
    tmp_path: Path, questions: str, loop: str, peers: str, expected: dict[tuple[str, str], int]
) -> None:
    out = tmp_path / "out.json"
    done = run("run.py", "--only", questions, "--loop", loop, "--peers", peers, "--json", str(out))
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert f"loop {loop}" in done.stdout
    found = figures(out)
    kinds = Counter((workload.partition(":")[0], placement) for _, workload, placement in found)
    assert kinds == expected
    assert {peer for peer, _, _ in found} == set(peers.split(","))
    for (one,) in found.values():
        assert all(figure > 0 for figure in one.values())


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
