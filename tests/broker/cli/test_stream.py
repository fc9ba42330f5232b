"""`mainbus stream`: items as they come, errors, and how it ends."""

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import mainbus
import pytest
from mainbus_broker.cli import main

from tests.support.commands import Running, Serving, run

APP = """
@ipc_main.handle("count")
async def count(event, until, stop=None):
    try:
        for number in range(until):
            yield {"n": number, "ü": b"x"}
        if stop is not None:
            raise ValueError(stop)
    finally:
        say("ended")

@ipc_main.handle("forever")
async def forever(event):
    try:
        yield "first"
        await asyncio.Event().wait()
    finally:
        say("ended")

ipc_main.handle("plain", lambda event: 42)
ipc_main.on("note", lambda event: None)
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


def test_items_are_lines(daemon: Serving, address: str) -> None:
    done = run("stream", "count", "2", "-a", address)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '{"n": 0, "ü": "eA=="}\n{"n": 1, "ü": "eA=="}\n'
    assert daemon.line() == "ended"


def test_json_lines(daemon: Serving, address: str) -> None:
    done = run("stream", "count", "3", "--json", "-a", address)
    assert done.stdout.isascii()
    assert [json.loads(line)["n"] for line in done.stdout.splitlines()] == [0, 1, 2]
    assert daemon.line() == "ended"


def test_a_plain_handler_has_one_item(address: str) -> None:
    assert run("stream", "plain", "-a", address).stdout == "42\n"


def test_an_error_comes_after_the_items_before_it(daemon: Serving, address: str) -> None:
    done = run("stream", "count", "1", "enough", "-a", address)
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stderr == "mainbus: Error invoking remote method 'count': ValueError: enough\n"
    assert daemon.line() == "ended"


def test_it_ends_after_so_many_and_so_does_the_handler(daemon: Serving, address: str) -> None:
    done = run("stream", "count", "1000000", "--count", "2", "-a", address)
    assert (done.returncode, done.stdout.count("\n")) == (0, 2)
    assert daemon.line() == "ended"


def test_items_are_printed_when_they_come_and_ctrl_c_ends_the_handler(daemon: Serving, address: str) -> None:
    with Running("stream", "forever", "-a", address) as stream:
        assert stream.line() == '"first"'
        assert stream.end(signal.SIGINT) == 130
        assert stream.said == []
    assert daemon.line() == "ended"


def test_a_reader_that_goes_away_ends_it(daemon: Serving, address: str) -> None:
    with Running("stream", "count", "1000000", "-a", address) as stream:
        stream.line()
        assert stream.process.stdout is not None
        stream.process.stdout.close()
        stream.process.stdout = None
        assert stream.end() == 141
        assert stream.said == []
    assert daemon.line() == "ended"


def test_a_deadline_for_all_of_it(daemon: Serving, address: str) -> None:
    done = run("stream", "forever", "--timeout", "0.3", "-a", address)
    assert (done.returncode, done.stdout) == (124, '"first"\n')
    assert "--timeout gives it more time" in done.stderr
    assert daemon.line() == "ended"


async def test_another_renderer(daemon: Serving, address: str) -> None:
    async with mainbus.connect(address, name="worker") as worker:

        @worker.handle("steps", senders="renderers")
        async def steps(event: object, word: str) -> object:
            for number in range(2):
                yield f"{word} {number}"

        done = await asyncio.to_thread(run, "stream", "--to", "worker", "steps", "step", "-a", address)
        assert done.stdout == '"step 0"\n"step 1"\n'
        done = await asyncio.to_thread(run, "stream", "--to", "worker", "nope", "-a", address)
        assert "senders='renderers'" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["nope"], 1, "`mainbus list` shows"),
        (["note"], 1, "`mainbus send`"),
        (["x", "--to", "nobody"], 1, "`mainbus list` shows who is there"),
        (["x", "--count", "0"], 2, "--count"),
        ([], 2, "CHANNEL"),
    ],
)
def test_an_error_is_one_line(
    arguments: list[str], code: int, word: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["stream", *arguments, "-a", address]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mainbus: ")
    assert word in line


def test_no_broker(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stream", "x", "-a", "unix:/no/such/socket"]) == 3
    assert "`mainbus serve`" in capsys.readouterr().err


def test_invoke_says_that_it_is_for_streams(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoke", "count", "1", "-a", address]) == 1
    expected = "mainbus: the handler of 'count' streams its result; `mainbus stream` prints that\n"
    assert capsys.readouterr().err == expected
