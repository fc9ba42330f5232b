"""`mainbus list`: who is there, and what the main process offers."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mainbus_broker.cli import main
from mainbus_broker.cli.list import _duration

from tests.support.commands import Running, Serving, run

APP = """
ipc_main.handle("add", lambda event, a, b: a + b)
ipc_main.on("add", lambda event: None)
ipc_main.on("a much longer channel", lambda event: None)
ipc_main.on("a much longer channel", lambda event: None)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Serving]:
    with TemporaryDirectory(prefix="mb") as folder, Serving(f"unix:{folder}/s", app=APP, folder=Path(folder)) as daemon:
        yield daemon


@pytest.fixture
def address(daemon: Serving) -> str:
    found: str = daemon.start["addresses"][0]
    return found


def test_renderers_and_channels_are_aligned(daemon: Serving, address: str) -> None:
    with (
        Running("listen", "x", "--name", "ears", "-a", address) as named,
        Running("listen", "x", "-a", address) as other,
    ):
        first, second = (int(one.until("renderer ").split("renderer ")[1].split()[0]) for one in (named, other))
        done = run("list", "--address", address)
        pids = (named.process.pid, other.process.pid)
    assert (done.returncode, done.stderr) == (0, "")
    head, _, titles, *renderers, _, channel_titles, one, two = done.stdout.splitlines()
    assert head == f"broker pid {daemon.process.pid}"
    assert titles.split() == ["ID", "NAME", "PID", "ROLE", "UPTIME", "QUEUED"]
    # The command itself is a renderer, too, which nobody wants to see.
    assert [row.split()[:4] for row in sorted(renderers, key=lambda row: "ears" not in row)] == [
        [str(first), "ears", str(pids[0]), "-"],
        [str(second), "-", str(pids[1]), "-"],
    ]
    assert all(len(row) == len(titles) for row in renderers)
    assert [channel_titles, one, two] == [
        "CHANNEL                LISTENERS  HANDLER",
        "add                            1  yes",
        "a much longer channel          2  no",
    ]


def test_json_is_the_whole_of_it(daemon: Serving, address: str) -> None:
    done = run("list", "--json", "-a", address)
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout) == {
        "pid": daemon.process.pid,
        "renderers": [],
        "channels": {
            "add": {"listeners": 1, "handler": True},
            "a much longer channel": {"listeners": 2, "handler": False},
        },
    }


def test_nobody_and_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with TemporaryDirectory(prefix="mb") as folder, Serving(f"unix:{folder}/s") as daemon:
        assert main(["list", "-a", f"unix:{folder}/s"]) == 0
    assert capsys.readouterr().out == f"broker pid {daemon.process.pid}\n\nno renderers\n\nno channels\n"


def test_a_broker_that_stands_still(daemon: Serving, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--timeout", "0", "-a", address]) == 124
    assert "--timeout" in capsys.readouterr().err


def test_no_broker(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-a", "unix:/no/such/socket"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "`mainbus serve`" in line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (59.9, "59.9s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (90_061, "1d01h")],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert _duration(seconds) == text
