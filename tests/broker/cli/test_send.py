"""`mainbus send`: messages to the main process and to other renderers, and what cannot be delivered."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from mainbus_broker import Config, Match, Role
from mainbus_broker.cli import main

from tests.support.commands import Running, Serving, run
from tests.support.threads import BrokerThread

APP = """
import json

@ipc_main.on("note")
def note(event, *args):
    say(json.dumps(args)[:1000])

@ipc_main.on("stop")
def stop(event):
    os._exit(1)
"""


@pytest.fixture(scope="module")
def daemon() -> Iterator[Serving]:
    with TemporaryDirectory(prefix="mb") as folder, Serving(f"unix:{folder}/s", app=APP, folder=Path(folder)) as daemon:
        yield daemon


@pytest.fixture
def address(daemon: Serving) -> str:
    found: str = daemon.start["addresses"][0]
    return found


def test_the_main_process_gets_it(daemon: Serving, address: str) -> None:
    done = run("send", "note", "1", "two", '{"three": 3}', "-4.5", "--address", address)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert json.loads(daemon.line()) == [1, "two", {"three": 3}, -4.5]


def test_json_says_that_it_has_arrived(daemon: Serving, address: str) -> None:
    done = run("send", "note", "1", "--json", "-a", address)
    assert (done.returncode, done.stdout) == (0, '{"target":0,"channel":"note"}\n')
    assert daemon.line() == "[1]"
    done = run("send", "note", "--to", "nobody", "--json", "-a", address)
    assert (done.returncode, done.stdout) == (1, "")


def test_large_messages_have_left_when_it_ends(daemon: Serving, address: str) -> None:
    assert run("send", "note", "@-", "-a", address, stdin=json.dumps("x" * 3_000_000)).returncode == 0
    assert daemon.line().startswith('["xxx')


def test_another_renderer_gets_it(address: str) -> None:
    with Running("listen", "note", "--name", "editor", "-n", "2", "-a", address) as listener:
        number = listener.until("listening").split("renderer ")[1].split()[0]
        assert run("send", "note", "1", "--to", "editor", "--name", "shell", "-a", address).returncode == 0
        assert main(["send", "note", "2", "--to", number, "-a", address]) == 0
        assert "(shell)  1" in listener.line()
        assert listener.line().endswith("  2")
        assert listener.end() == 0


def test_what_cannot_be_delivered_is_said(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Running("listen", "note", "--name", "deaf", "--senders", "main", "-a", address) as listener:
        listener.until("listening")
        heard = "takes messages of renderers (senders='renderers' or 'any')"
        for target, channel, text in [
            ("nobody", "note", "'note' could not be delivered to 'nobody': "),
            ("deaf", "note", f"renderer 'deaf' has no listener for 'note' that {heard}"),
            ("deaf", "other", f"renderer 'deaf' has no listener for 'other' that {heard}"),
        ]:
            assert main(["send", channel, "--to", target, "-a", address]) == 1
            (line,) = capsys.readouterr().err.splitlines()
            assert line.startswith(f"mainbus: {text}")
            assert line.endswith("`mainbus list` shows who is there" if target == "nobody" else text)
        assert listener.end(signal.SIGINT) == 130


@pytest.mark.contract("8.4")
def test_what_a_role_does_not_grant_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    roles = {"command": Role(match=Match(), invoke=["*"])}
    with BrokerThread(f"unix:{tmp_path}/s", config=Config(roles=roles)) as broker:
        for target, verb in (([], "send"), (["--to", "editor"], "send_to")):
            assert main(["send", "note", *target, "-a", broker.address]) == 1
            assert capsys.readouterr().err == f"mainbus: Permission denied: {verb} on 'note'\n"


def test_a_renderer_that_does_not_take_it_is_not_waited_for(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Running("listen", "note", "--name", "still", "-a", address) as listener:
        listener.until("listening")
        listener.send(signal.SIGSTOP)
        assert main(["send", "note", "--to", "still", "--timeout", "0.05", "-a", address]) == 124
        assert "'note'" in capsys.readouterr().err
        listener.send(signal.SIGCONT)
        assert listener.line().startswith("note  ")


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["note", "@no-such-file"], 2, "No such file"),
        (["x" * 256], 2, "CHANNEL"),
        (["note", "-a", "unix:/no/such/socket"], 3, "`mainbus serve`"),
    ],
)
def test_an_error_is_one_line(
    arguments: list[str], code: int, word: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if "-a" in arguments else ["-a", address]
    assert main(["send", *where, *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert word in line


def test_a_broker_that_dies_of_it(tmp_path: Path) -> None:
    with TemporaryDirectory(prefix="mb") as folder, Serving(f"unix:{folder}/s", app=APP, folder=tmp_path):
        done = run("send", "stop", "-a", f"unix:{folder}/s")
        assert done.returncode == 3
        assert "lost" in done.stderr
