"""`mainbus serve`: real daemons, which are asked, ended, killed and refused."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from functools import partial
from pathlib import Path
from textwrap import dedent

import mainbus
import pytest
from mainbus import ConnectionLost, ConnectRefused, ReplyNeverSent
from mainbus_broker.cli import main

from tests.support.commands import COMMAND, PATIENCE, PRELUDE, Running, Serving, on_terminal, run

ECHO = """
ipc_main.handle("echo", lambda event, *args: list(args))
ipc_main.handle("pid", lambda event: os.getpid())
"""

SLOW = """
finish = asyncio.Event()
ipc_main.on("finish", lambda event: finish.set())

@ipc_main.handle("slow")
async def slow(event, size):
    say("started")
    await finish.wait()
    return b"x" * size
"""


@pytest.fixture
def anyio_backend() -> str:
    """The renderers are not what is tested here: one loop will do."""
    return "asyncio"


connected = partial(mainbus.connect, reconnect=False)


def ask(address: str, channel: str) -> object:
    """Invoke a channel from a test without a loop."""

    async def invoke() -> object:
        async with connected(address) as renderer:
            return await renderer.invoke(channel)

    return asyncio.run(invoke())


async def refused(address: str) -> None:
    """Wait until nobody is accepted any more: when a signal was heard, the loop may have a turn to go."""
    with contextlib.suppress(ConnectRefused):
        while True:
            async with connected(address):
                pass


def path_of(address: str) -> Path:
    return Path(address.removeprefix("unix:"))


@pytest.mark.smoke
@pytest.mark.contract("2.1", "8.1", "9.8")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_it_serves_says_where_and_ends_clean(loop: str, address: str, tmp_path: Path) -> None:
    with Serving(address, "--loop", loop, app=ECHO, folder=tmp_path) as daemon:
        assert daemon.start["addresses"] == [address]
        assert daemon.start["pid"] == daemon.process.pid
        assert daemon.start["loop"].split()[0] == loop
        assert daemon.start["python"] == sys.version.split()[0]
        assert daemon.start["message"] == "serving"
        assert stat.S_IMODE(path_of(address).stat().st_mode) == 0o600
        async with mainbus.connect(address) as renderer:
            assert await renderer.invoke("pid") == daemon.process.pid
        assert daemon.end(signal.SIGTERM) == 0
        assert list(path_of(address).parent.iterdir()) == []


@pytest.mark.contract("9.8")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_running_handler_finishes_and_answers(number: signal.Signals, address: str, tmp_path: Path) -> None:
    with Serving(address, app=SLOW, folder=tmp_path) as daemon:
        async with connected(address) as renderer, connected(address) as other:
            # More than the kernel takes at once: the answer must leave after the handler has ended.
            reply = renderer.invoke("slow", 8_000_000)
            assert await asyncio.to_thread(daemon.line) == "started"
            daemon.send(number)
            await asyncio.to_thread(daemon.until, "stopping")
            await refused(address)
            other.send("finish")
            assert len(await reply) == 8_000_000
        assert await asyncio.to_thread(daemon.end) == 0
        assert list(path_of(address).parent.iterdir()) == []


@pytest.mark.contract("9.8")
async def test_what_outlasts_the_drain_fails_by_name(address: str, tmp_path: Path) -> None:
    with Serving(address, "--drain", "0.1", app=SLOW, folder=tmp_path) as daemon:
        async with connected(address) as renderer:
            reply = renderer.invoke("slow", 1)
            assert await asyncio.to_thread(daemon.line) == "started"
            daemon.send(signal.SIGTERM)
            with pytest.raises(ReplyNeverSent):
                await reply
        assert await asyncio.to_thread(daemon.end) == 0
        assert not any("Traceback" in line for line in daemon.said)


async def test_a_second_signal_does_not_wait(address: str, tmp_path: Path) -> None:
    stubborn = """
        @ipc_main.handle("stubborn")
        async def stubborn(event):
            say("started")
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    pass
    """
    config = tmp_path / "mainbus.toml"
    config.write_text("cancel_grace = 3600")
    options = ["--drain", "3600", "--config", str(config)]
    with Serving(address, *options, app=stubborn, folder=tmp_path) as daemon:
        async with connected(address) as renderer:
            reply = renderer.invoke("stubborn")
            assert await asyncio.to_thread(daemon.line) == "started"
            daemon.send(signal.SIGINT)
            await asyncio.to_thread(daemon.until, "stopping")
            daemon.send(signal.SIGTERM)
            with pytest.raises(ReplyNeverSent):
                await reply
        assert await asyncio.to_thread(daemon.end) == 128 + signal.SIGTERM
        assert list(path_of(address).parent.iterdir()) == []


def test_a_third_signal_ends_a_loop_that_stands_still(address: str, tmp_path: Path) -> None:
    blocking = """
        @ipc_main.on("block")
        def block(event):
            say("started")
            while True:
                time.sleep(0.01)
    """
    with Serving(address, app=blocking, folder=tmp_path) as daemon, Running("send", "block", "-a", address) as sender:
        assert daemon.line() == "started"
        # More than three: two of a kind that come in a row are one to the system.
        for number in [signal.SIGTERM, signal.SIGINT] * 50:
            daemon.send(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.process.wait(0.05)
                break
        assert daemon.process.returncode in (-signal.SIGTERM, -signal.SIGINT)
        assert sender.end() == 3


def test_what_the_application_left_running_does_not_keep_it(address: str, tmp_path: Path) -> None:
    left = """
        import threading

        async def endless():
            while True:
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    say("ignored")

        @ipc_main.handle("begin")
        async def begin(event):
            asyncio.create_task(endless(), name="endless")
            asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    """
    config = tmp_path / "mainbus.toml"
    config.write_text("cancel_grace = 0.1")
    with Serving(address, "--config", str(config), app=left, folder=tmp_path) as daemon:
        assert ask(address, "begin") is None
        daemon.send(signal.SIGTERM)
        assert "'endless' and a worker thread" in daemon.log("still running")["message"]
        assert daemon.end() == 0
        assert not path_of(address).exists()


@pytest.mark.contract("8.3")
def test_a_killed_daemon_leaves_a_socket_that_the_next_one_replaces(address: str, tmp_path: Path) -> None:
    with Serving(address) as daemon:
        assert daemon.end(signal.SIGKILL) == -signal.SIGKILL
    assert path_of(address).is_socket()
    with Serving(address, app=ECHO, folder=tmp_path) as daemon:
        assert ask(address, "pid") == daemon.process.pid
        assert daemon.end(signal.SIGTERM) == 0
    assert not path_of(address).exists()


@pytest.mark.contract("8.3")
def test_a_second_daemon_is_refused_and_told_by_whom(address: str, tmp_path: Path) -> None:
    with Serving(address, app=ECHO, folder=tmp_path) as daemon:
        second = run("serve", "--address", address)
        assert second.returncode == 3
        assert second.stderr.count("\n") == 1
        assert address in second.stderr
        assert second.stderr.endswith(f"(pid {daemon.process.pid}); end that process, or give another --address\n")
        # The first one has noticed nothing.
        assert ask(address, "pid") == daemon.process.pid


def test_several_addresses(address: str, tmp_path: Path) -> None:
    with Serving(address, "--address", f"{address}2", app=ECHO, folder=tmp_path) as daemon:
        assert daemon.start["addresses"] == [address, f"{address}2"]
        assert ask(f"{address}2", "pid") == daemon.process.pid


@pytest.mark.contract("8.2")
def test_without_an_address_it_is_the_default_one(address: str) -> None:
    folder = path_of(address).parent
    env = {"XDG_RUNTIME_DIR": str(folder), "MAINBUS_APP": "editor"}
    with Serving(None, env=env) as daemon:
        assert daemon.start["addresses"] == [f"unix:{folder}/mainbus/editor.sock"]
        found = run("list", "--json", env={**os.environ, **env})
        assert json.loads(found.stdout)["pid"] == daemon.process.pid


def test_a_socket_is_inherited_by_number(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path_of(address)))
        sock.listen()
        number = sock.fileno()
        with Serving(None, "--fd", str(number), pass_fds=[number]) as daemon:
            assert daemon.start["addresses"] == [address]
            assert main(["list", "-a", address]) == 0
            assert daemon.end(signal.SIGTERM) == 0
    # Whoever made it may use it again.
    assert path_of(address).is_socket()


def test_a_socket_is_inherited_from_systemd(address: str) -> None:
    activate = """
        import os, socket, sys
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(sys.argv[1])
        sock.listen()
        os.dup2(sock.fileno(), 3)
        os.set_inheritable(3, True)
        os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "mainbus.socket"}
        os.execv(sys.executable, sys.argv[2:])
    """
    argv = [sys.executable, "-c", dedent(activate), str(path_of(address)), *COMMAND, "serve"]
    with Running(argv=argv) as daemon:
        assert daemon.log("serving")["addresses"] == [address]
        assert main(["list", "-a", address]) == 0
        assert daemon.end(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--config", "{config}"], 2, ["mainbus.toml", "limits.hihg", "unknown key", "did you mean high"]),
        (["--fd", "987"], 3, ["fd:987: is no socket that was handed over: Bad file descriptor"]),
        (["-a", "unix:/no such/x/s"], 3, ["the folder /no such/x does not exist", "`mkdir -p -m 700 '/no such/x'`"]),
        (["app:ipc_man"], 4, ["app:ipc_man", "no attribute", "ipc_main"]),
        (["app:setup_that_raises"], 4, ["app:setup_that_raises", "its setup raised LookupError: no such plugin"]),
    ],
)
def test_what_cannot_be_served_is_said_in_a_line(
    options: list[str], code: int, words: list[str], address: str, tmp_path: Path
) -> None:
    (tmp_path / "app.py").write_text(
        f"{PRELUDE}async def setup_that_raises(broker): raise LookupError('no such plugin')"
    )
    (tmp_path / "mainbus.toml").write_text("[limits]\nhihg = 1\n")
    given = [option.format(config=tmp_path / "mainbus.toml") for option in options]
    where = [] if {"--fd", "-a"} & set(options) else ["--address", address]
    done = run("serve", *given, *where, cwd=tmp_path)
    assert done.returncode == code
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mainbus: ")
    for word in words:
        assert word in last
    # What a setup raises has a traceback, in the log; everything else is that one line.
    assert len(done.stderr.splitlines()) == (2 if "raises" in options[0] else 1)
    assert not path_of(address).exists()


def test_each_problem_of_a_configuration_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mainbus.toml"
    config.write_text("tracebacks = 1\n[limits]\nhihg = 1\n")
    assert main(["serve", "--config", str(config)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"mainbus: {config}: tracebacks: expected true or false, but found 1",
        f"mainbus: {config}: limits.hihg: unknown key; did you mean high?",
    ]


@pytest.mark.parametrize("kind", ["option", "variable"])
@pytest.mark.parametrize("command", ["serve", "list"])
def test_an_address_inside_one_process_is_refused(command: str, kind: str) -> None:
    options = ["-a", "memory:x"] if kind == "option" else []
    done = run(command, *options, env=os.environ | ({"MAINBUS_ADDRESS": "memory:x"} if kind == "variable" else {}))
    assert done.returncode == 3
    text = "mainbus: memory:x: it is an address inside one process, which no other process can reach\n"
    assert done.stderr == text


@pytest.mark.parametrize("command", ["serve", "list"])
def test_an_unknown_scheme_is_no_reason_to_name_one_that_will_not_do(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "-a", "tcp:1"]) == 3
    assert capsys.readouterr().err == "mainbus: tcp:1: unknown scheme 'tcp:', this system has 'unix:'\n"


@pytest.mark.contract("2.1")
@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_setup_function_gets_the_broker_before_it_listens(kind: str, address: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        f"{kind} setup(broker):\n"
        "    broker.ipc_main.handle('addresses', lambda event: [before, broker.addresses])\n"
        "    before = list(broker.addresses)\n"
    )
    with Running("serve", "app:setup", "-a", address, cwd=tmp_path) as daemon:
        daemon.until("serving")
        async with mainbus.connect(address) as renderer:
            assert await renderer.invoke("addresses") == [[], [address]]


async def test_a_daemon_without_a_target_forwards(address: str) -> None:
    with Serving(address) as daemon:
        async with mainbus.connect(address) as one, mainbus.connect(address, name="two") as two:
            two.handle("double", lambda event, number: 2 * number, senders="renderers")
            assert await one.invoke_to("two", "double", 21) == 42
            daemon.send(signal.SIGKILL)
            with pytest.raises(ConnectionLost):
                await one.invoke_to("two", "never")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--drain", "-1"], ["--drain"]),
        (["--loop", "trio"], ["--loop", "trio", "uvloop"]),
        (["--log-format", "xml"], ["--log-format", "xml", "json"]),
        (["--fd", "x"], ["--fd", "x"]),
        (["--adress", "unix:/x"], ["--adress", "--address"]),
        (["app:ipc_main", "more"], ["more"]),
    ],
)
def test_a_wrong_command_line_is_said_in_a_line(
    options: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mainbus: ")
    assert line.endswith("(`mainbus serve --help` explains)")
    for word in words:
        assert word in line


async def test_the_log_for_people(address: str) -> None:
    with Running("serve", "-a", address, "--log-format", "text") as daemon:
        line = daemon.until("serving")
        assert f" INFO    serving {address} (pid {daemon.process.pid}, uvloop " in line
        assert line.endswith(f", Python {sys.version.split()[0]})\n")
        # A name is somebody else's text: nothing in it may act upon a terminal, or pass for another line.
        async with mainbus.connect(address, name="evil\n\x1b[31m"):
            assert "renderer 1 (evil\\n\\u001b[31m) pid" in daemon.until("connected")


@pytest.mark.parametrize(("option", "is_json"), [("--json", True), ("--log-level=info", False)])
def test_json_lines_on_a_terminal(
    option: str, is_json: bool, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text("def setup(broker):\n    raise LookupError('why')\n")
    monkeypatch.chdir(tmp_path)
    code, lines = on_terminal("serve", "app:setup", option, "-a", address)
    assert code == 4
    assert lines[-1] == "mainbus: cannot serve 'app:setup': its setup raised LookupError: why"
    assert lines[0].startswith("{") == is_json
    if is_json:
        assert json.loads(lines[0])["message"] == "the setup function failed"


def test_json_and_text_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--json", "--log-format", "text"]) == 2
    assert capsys.readouterr().err == "mainbus: --json and --log-format text exclude each other\n"


@pytest.mark.parametrize("target", ["", "app:save"])
def test_what_is_nothing_to_serve_is_said_in_a_line(target: str, address: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(f"{PRELUDE}\n@ipc_main.handle('save')\ndef save(event): ...\n")
    done = run("serve", target, "-a", address, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (4, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"mainbus: cannot serve {target!r}: ")


async def test_a_quiet_log(address: str) -> None:
    with Running("serve", "-a", address, "--log-level", "error") as daemon:
        async with mainbus.connect(address, connect_timeout=PATIENCE):
            daemon.send(signal.SIGTERM)
            assert await asyncio.to_thread(daemon.end) == 0
        assert daemon.said == []
