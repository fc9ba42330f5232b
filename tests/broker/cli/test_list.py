"""`mainbus list`: who is there, and what the main process offers."""

import asyncio
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import mainbus
import pytest
from mainbus_broker.cli import main

from tests.support.commands import Running, Serving, on_terminal, plain, run

APP = """
ipc_main.handle("add", lambda event, a, b: a + b)
ipc_main.on("add", lambda event: None)
ipc_main.on("a much longer channel", lambda event: None)
ipc_main.on("a much longer channel", lambda event: None)

@ipc_main.handle("own")
def own(event):
    event.sender.ipc.handle("save", lambda event: None)
    event.sender.ipc.on("save", lambda event: None)
    event.sender.main_frame.ipc.on("zoom", lambda event: None)
"""


@pytest.fixture
def anyio_backend() -> str:
    """The renderers are not what is tested here: one loop will do."""
    return "asyncio"


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
    head, _, titles, *renderers, _, channel_titles, one, two, three = done.stdout.splitlines()
    assert re.fullmatch(rf"broker pid {daemon.process.pid}, up \S+, mainbus \S.*", head)
    assert titles.split() == ["ID", "NAME", "PID", "ROLE", "UPTIME", "QUEUED"]
    # The command itself is a renderer, too, which nobody wants to see.
    assert [row.split()[:4] for row in sorted(renderers, key=lambda row: "ears" not in row)] == [
        [str(first), "ears", str(pids[0]), "-"],
        [str(second), "-", str(pids[1]), "-"],
    ]
    assert all(len(row) == len(titles) for row in renderers)
    assert [channel_titles, one, two, three] == [
        "CHANNEL                LISTENERS  HANDLER  WHO",
        "add                            1  yes      main",
        "a much longer channel          2  no       main",
        "own                            0  yes      main",
    ]


async def test_what_main_has_for_one_renderer_says_for_whom(daemon: Serving, address: str) -> None:
    async with mainbus.connect(address, name="editor") as editor:
        await editor.invoke("own")
        done = await asyncio.to_thread(run, "list", "--address", address)
    assert done.stdout.splitlines()[-2:] == [
        f"save                           1  yes      renderer {editor.id} (editor)",
        f"zoom                           1  no       renderer {editor.id} (editor), frame 0",
    ]


@pytest.mark.parametrize("columns", [80, 120])
async def test_a_table_is_as_wide_as_the_terminal(daemon: Serving, address: str, columns: int) -> None:
    name = "a-name-that-is-longer-than-a-terminal-is-wide/" * 3
    async with mainbus.connect(address, name=name):
        code, lines = await asyncio.to_thread(on_terminal, "list", "--address", address, columns=columns)
    shown = [plain(line) for line in lines]
    assert code == 0
    assert columns - 10 < max(map(len, shown)) <= columns
    # Broken, not cut: it can be put together again. Numbers stay whole.
    at = shown.index(next(line for line in shown if line.startswith("ID")))
    start = shown[at].index("NAME")
    parts = [line[start:].split()[0] for line in shown[at + 1 : shown.index("", at)]]
    assert "".join(parts) == name
    assert str(os.getpid()) in shown[at + 1]
    # Bold, and no color that another ground would swallow.
    assert set(re.findall(r"\x1b\[[0-9;]*m", "".join(lines))) == {"\x1b[1m", "\x1b[0m"}


def test_a_terminal_without_styles_gets_none(daemon: Serving, address: str) -> None:
    _, lines = on_terminal("list", "--address", address, TERM="dumb")
    assert "\x1b" not in "".join(lines)


def test_json_is_the_whole_of_it(daemon: Serving, address: str) -> None:
    done = run("list", "--json", "-a", address)
    assert done.stdout.count("\n") == 1
    told = json.loads(done.stdout)
    assert set(told) == {"pid", "uptime", "version", "python", "loop", "codec", "limits", "renderers", "channels"}
    assert (told["pid"], told["renderers"]) == (daemon.process.pid, [])
    assert told["channels"] == [
        {"channel": "add", "listeners": 1, "handler": True, "renderer": 0, "frame": None},
        {"channel": "a much longer channel", "listeners": 2, "handler": False, "renderer": 0, "frame": None},
        {"channel": "own", "listeners": 0, "handler": True, "renderer": 0, "frame": None},
    ]


def test_nobody_and_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with TemporaryDirectory(prefix="mb") as folder, Serving(f"unix:{folder}/s"):
        assert main(["list", "-a", f"unix:{folder}/s"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == ["", "no renderers", "", "no channels"]


def test_a_broker_that_stands_still(daemon: Serving, address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--timeout", "0", "-a", address]) == 124
    assert "--timeout" in capsys.readouterr().err


def test_no_broker(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "-a", "unix:/no/such/socket"]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert "`mainbus serve`" in line
