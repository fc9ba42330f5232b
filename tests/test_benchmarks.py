"""The benchmarks run and report every figure; what the figures are is not tested."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.checks.tree import ROOT

BENCHMARKS = ROOT / "benchmarks"
PAIR = ("mainbus-main", "multiprocessing")


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / script), "--seconds", "0.02", "--repetitions", "1", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50, env={**os.environ, **environment})


def published(readme: Path, figures: Path) -> str:
    """Publish a run in a page, and return that."""
    code = """if True:
        import json, sys, published, report
        from pathlib import Path
        found = json.loads(Path(sys.argv[2]).read_text())
        published.publish(report.results(found), found, Path(sys.argv[1]), Path(sys.argv[1]).parent)
    """
    subprocess.run([sys.executable, "-c", code, str(readme), str(figures)], cwd=BENCHMARKS, check=True, timeout=50)
    return readme.read_text()


def figures(path: Path) -> dict[tuple[str, str, str], list[dict[str, float]]]:
    found = json.loads(path.read_text())
    assert found["failed"] == {}
    return {(one["peer"], one["workload"], one["placement"]): one["rounds"] for one in found["results"]}


# One peer and few workloads each: what takes long is to start the processes.
@pytest.mark.parametrize(
    ("question", "arguments", "expected"),
    [
        (
            "latency",
            ["--workloads=latency", "--peers=L2,mainbus"],
            {("latency", "@1cpu"): 2, ("latency", "unpinned"): 2},
        ),
        ("broadcast", ["--peers=mainbus"], {("broadcast", "unpinned"): 1}),
        ("direct", ["--peers=mainbus-port", "--workloads=one-way"], {("one-way", "unpinned"): 1}),
        ("connections", ["--peers=mainbus", "--workloads=connect", "--shrink=50"], {("connect", "unpinned"): 1}),
        ("growth", ["--workloads=renderers:100", "--shrink=10"], {("renderers", "@1cpu"): 1}),
    ],
)
def test_each_question_is_answered_for_every_peer(
    tmp_path: Path, question: str, arguments: list[str], expected: dict[tuple[str, str], int]
) -> None:
    out = tmp_path / "out.json"
    done = run("run.py", "--only", question, "--json", str(out), *arguments)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    found = figures(out)
    kinds = Counter((workload.partition(":")[0], placement) for _, workload, placement in found)
    assert kinds == expected
    for (one,) in found.values():
        assert all(figure > 0 for name, figure in one.items() if name != "kib")


def test_a_run_is_set_beside_must_and_goal_and_drawn(tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["--only=pipelined,one-way,payload", "--peers", ",".join(PAIR), "--json", str(out)]
    first = run("run.py", *arguments, "--loop=asyncio")
    assert (first.returncode, first.stderr) == (0, "")
    assert "loop asyncio" in first.stdout
    kinds = Counter((peer, workload.partition(":")[0]) for peer, workload, _ in figures(out))
    assert kinds == {
        (peer, workload): count
        for peer in PAIR
        for workload, count in (("in-flight", 1), ("one-way", 1), ("payload", 3))
    }
    (row,) = (line for line in first.stdout.splitlines() if line.startswith("W2 64 in flight"))
    assert "≥ 0.8 x multiprocessing.connection" in row
    ours, theirs = (figures(out)[peer, "in-flight", "unpinned"][0]["rate"] for peer in PAIR)
    assert f"{ours / theirs:.2f} x multiprocessing" in row
    verdict = "goal met" if ours >= 1.2 * theirs else "must met, goal not" if ours >= 0.8 * theirs else "must not met"
    assert row.endswith(verdict)
    drawing = ElementTree.fromstring((tmp_path / "pipelined.svg").read_text())
    drawn = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert {"mainbus, renderer to main", "multiprocessing.connection, 2 processes"} <= set(drawn)

    again = run("run.py", "--again", "--json", str(out))
    assert (again.returncode, again.stdout) == (0, first.stdout)

    readme = tmp_path / "README.md"
    readme.write_text((BENCHMARKS / "README.md").read_text())
    before, after = published(readme, out), published(readme, out)
    assert row.split("  ")[0] in after
    assert "![pipelined](../docs/static/benchmarks/pipelined.svg)" in after
    assert after == before
    assert after.count("\n## ") == (BENCHMARKS / "README.md").read_text().count("\n## ")


def test_a_peer_that_is_not_here_is_named(tmp_path: Path) -> None:
    done = run("run.py", "--only=broadcast", "--peers=dbus", "--json", str(tmp_path / "out.json"), PATH="")
    assert (done.returncode, done.stderr) == (0, "")
    assert "D-Bus: dbus-daemon, dbus-fast: not here, needs dbus-daemon" in done.stdout


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


def test_a_bus_at_full_speed_is_looked_at_for_each_part_and_at_rest() -> None:
    # What a process grows by in its first second is no leak, and not looked at here.
    done = steady("--within", "1000")
    assert (done.returncode, done.stderr) == (0, "")
    _, head, *parts, last = done.stdout.splitlines()
    assert head.split()[:1] + head.split()[-3:] == ["seconds", "under", "way", "KiB"]
    assert [len(line.split()) for line in parts] == [9] * 5
    assert last == "steady"


def test_a_bus_that_is_not_steady_fails() -> None:
    done = steady("--within", "-1")
    assert done.returncode == 1
    for what in ("daemon", "there", "here"):
        assert f"{what}: " in done.stdout


def steady(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run that for a moment."""
    command = [sys.executable, str(BENCHMARKS / "steady.py"), "--seconds", "0.5", "--samples", "2", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=50)
