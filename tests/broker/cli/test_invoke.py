"""`mainbus invoke`: results, errors, targets, and how it ends."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import mainbus
import pytest
from mainbus_broker import Config, Match, Role
from mainbus_broker.cli import main

from tests.support.commands import Running, Serving, run
from tests.support.threads import BrokerThread

APP = """
import datetime, decimal

ipc_main.handle("add", lambda event, a, b: a + b)
ipc_main.on("note", lambda event: None)
ipc_main.handle("echo", lambda event, *args: list(args))

@ipc_main.handle("rich")
def rich(event):
    return {"b": b"hi", "s": {1}, "d": datetime.date(2024, 2, 29), 7: decimal.Decimal("1.50")}

@ipc_main.handle("fail")
def fail(event):
    raise ValueError("first line\\nsecond line \\x1b[31m")

@ipc_main.handle("wait")
async def wait(event, loud=False):
    if loud:
        say("started")
    try:
        await asyncio.Event().wait()
    finally:
        if loud:
            say("cancelled")
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Serving]:
    with TemporaryDirectory(prefix="mb") as folder, Serving(f"unix:{folder}/s", app=APP, folder=Path(folder)) as daemon:
        yield daemon


@pytest.fixture
def address(daemon: Serving) -> str:
    found: str = daemon.start["addresses"][0]
    return found


@pytest.fixture
def anyio_backend() -> str:
    """The renderers are not what is tested here: one loop will do."""
    return "asyncio"


def test_the_result_is_printed_as_json(address: str) -> None:
    done = run("invoke", "add", "40", "2", "--address", address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "42\n", "")


def test_json_is_one_line_for_programs(address: str) -> None:
    done = run(
        "invoke", "--json", "-a", address, "echo", '{"a": [1.5, null]}', "plain", "ü", "-2", "@-", stdin="[true]"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == '[{"a":[1.5,null]},"plain","\\u00fc",-2,[true]]\n'


def test_the_default_address_is_that_of_the_environment(
    address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MAINBUS_ADDRESS", address)
    assert main(["invoke", "add", "1", "2"]) == 0
    assert capsys.readouterr().out == "3\n"


def test_values_that_json_has_no_type_for(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["invoke", "rich", "-a", address]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith('{\n  "b": ')
    assert json.loads(printed) == {"b": "aGk=", "s": [1], "d": "2024-02-29", "7": "1.50"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fail"], 1, ["Error invoking remote method 'fail': ValueError: first line\\nsecond line \\u001b[31m"]),
        (["nobody"], 1, ["No handler registered for 'nobody'", "`mainbus list`"]),
        (["note"], 1, ["No handler registered for 'note'; it has a listener: use `mainbus send`"]),
        (["add", "1"], 1, ["remote method 'add': <lambda>() (app.py:", "takes 2 arguments (a, b) after the event"]),
        (["add", "--to", "nobody"], 1, ["nobody", "`mainbus list`"]),
        (["add", "--to", "77"], 1, ["77"]),
        (["wait", "--timeout", "0.05"], 124, ["no reply within 0.05 s", "--timeout"]),
        (["add", "1", "2", "--name", "x" * 256], 2, ["--name", "255 bytes"]),
        (["", "1"], 2, ["CHANNEL", "0 bytes"]),
        (["add", "@no-such-file"], 2, ["@no-such-file", "No such file", "JSON"]),
        (["echo", "\udcff"], 2, ["could not be cloned", "args[0]"]),
        (["add", "1", "2", "--tiemout", "3"], 2, ["--tiemout", "--timeout", "mainbus invoke --help"]),
        (["add", "1", "2", "-a", "tcp:1"], 3, ["tcp:1", "unknown scheme"]),
        (
            ["add", "1", "2", "-a", "unix:/no/such/socket"],
            3,
            ["unix:/no/such/socket", "`mainbus serve`", "--connect-timeout"],
        ),
    ],
)
def test_an_error_is_one_line_with_a_remedy(
    arguments: list[str], code: int, words: list[str], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if "-a" in arguments else ["-a", address]
    assert main(["invoke", *where, *arguments]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith("mainbus: ")
    for word in words:
        assert word in said.err


def test_letters_that_the_terminal_does_not_have(address: str) -> None:
    done = run("invoke", "echo", "ü", "-a", address, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, '[\n  "\\xfc"\n]\n', "")


def test_an_error_of_the_real_command(address: str) -> None:
    done = run("invoke", "fail", "-a", address)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("mainbus: Error invoking remote method 'fail': ValueError: first line\\nsecond")
    assert done.stderr.count("\n") == 1


def test_ctrl_c_cancels_the_handler_and_says_nothing(daemon: Serving, address: str) -> None:
    with Running("invoke", "wait", "true", "-a", address) as command:
        assert daemon.line() == "started"
        assert (command.end(signal.SIGINT), command.said) == (130, [])
    assert daemon.line() == "cancelled"


def test_a_broker_that_stops_in_order_never_sent_the_reply(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="mb") as folder:
        address = f"unix:{folder}/s"
        with (
            Serving(address, "--drain", "0", app=APP, folder=tmp_path) as daemon,
            Running("invoke", "wait", "true", "-a", address) as command,
        ):
            assert daemon.line() == "started"
            daemon.send(signal.SIGTERM)
            assert command.end() == 1
            assert command.said == ["mainbus: Error invoking remote method 'wait': reply was never sent\n"]


async def test_another_renderer_is_invoked_by_name_and_by_id(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with mainbus.connect(address, name="editor") as editor:
        editor.handle("who", lambda event, *args: [event.sender_name, *args], senders="any")
        editor.handle("private", lambda event: None)

        async def invoke(*arguments: str) -> tuple[int, str]:
            code = await asyncio.to_thread(main, ["invoke", "-a", address, "--json", *arguments])
            return code, "".join(capsys.readouterr())

        assert await invoke("who", "1", "--to", "editor", "--name", "shell") == (0, '["shell",1]\n')
        assert await invoke("who", "--to", str(editor.id)) == (0, '[""]\n')
        code, said = await invoke("private", "--to", "editor")
        assert code == 1
        assert "senders='renderers' or 'any'" in said
        code, said = await invoke("who", "--to", "editor", "--name", "editor")
        assert code == 3
        assert "taken" in said
        assert "--name" in said


def test_a_reader_that_goes_away_is_no_error(address: str) -> None:
    with Running("invoke", "echo", "x" * 100_000, "-a", address) as command:
        assert command.process.stdout is not None
        command.process.stdout.close()
        command.process.stdout = None
        assert command.end() == 141
        assert command.said == []


def test_the_module_is_the_command_too() -> None:
    assert "Usage: mainbus" in run("--help").stdout
    assert run("--version").stdout.endswith(f"Python {sys.version.split()[0]}\n")


@pytest.mark.contract("8.4")
def test_a_role_that_may_not_look_gets_the_remedy_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roles = {"command": Role(match=Match(), invoke=["nobody"])}
    with BrokerThread(f"unix:{tmp_path}/s", config=Config(roles=roles)) as broker:
        assert main(["invoke", "nobody", "-a", broker.address]) == 1
        assert "No handler registered for 'nobody'; `mainbus list`" in capsys.readouterr().err
        assert main(["invoke", "echo", "-a", broker.address]) == 1
        assert capsys.readouterr().err.startswith("mainbus: Permission denied: invoke on 'echo'")
        assert main(["list", "-a", broker.address]) == 1
        assert "Permission denied: monitor on 'status'" in capsys.readouterr().err
