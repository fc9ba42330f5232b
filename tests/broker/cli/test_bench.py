"""`mainbus bench`: figures of this machine, for people and for programs."""

import json
import os
import signal
from pathlib import Path

import pytest
from mainbus_broker.cli import main

from tests.support.commands import Running, on_terminal, plain, run

QUICK = ["--seconds", "0.02"]


@pytest.mark.parametrize("columns", [80, 120])
def test_figures_for_people_and_a_bar_while_they_come(columns: int) -> None:
    code, lines = on_terminal("bench", *QUICK, columns=columns)
    shown = [plain(line) for line in lines]
    assert code == 0
    assert any("measuring" in line and " %" in line for line in shown)
    heads, to_main, to_renderer = shown[-3:]
    assert heads.split() == ["TO", "INVOKE,", "MEDIAN", "99", "%", "INVOKES/S", "MESSAGES/S"]
    assert to_main.startswith("main ")
    assert to_renderer.startswith("renderer ")
    assert max(map(len, shown[-3:])) <= columns
    # The bar is gone from the line where the figures begin.
    assert "measuring" not in shown[-5]


def test_json(tmp_path: Path) -> None:
    # A token is for the broker that gave it, and a variable for other renderers.
    env = {**os.environ, "MAINBUS_TOKEN": "x", "MAINBUS_ADDRESS": "unix:/no/such", "TMPDIR": str(tmp_path)}
    done = run("bench", "--json", *QUICK, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    told = json.loads(done.stdout)
    assert set(told["machine"]) == {"system", "cpus", "python", "loop", "codec", "mainbus"}
    assert [result["target"] for result in told["results"]] == ["main", "renderer"]
    assert all(value > 0 for result in told["results"] for key, value in result.items() if key != "target")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("seconds", ["0", "8", "nan", "x"])
def test_it_never_takes_a_minute(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--seconds", seconds]) == 2
    assert "expected a number of seconds from 0.01 to 7" in capsys.readouterr().err


def test_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with Running("bench", "--seconds", "7", env=env, start_new_session=True) as bench:
        while not any(tmp_path.glob("*/s")):
            assert bench.process.poll() is None
        os.killpg(bench.process.pid, signal.SIGINT)
        assert bench.end() == 130
    assert os.listdir(tmp_path) == []
