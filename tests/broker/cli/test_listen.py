"""`mainbus listen`: messages of the main process and of renderers, as they come."""

import asyncio
import json
import signal
from pathlib import Path

import mainbus
import pytest
from mainbus_broker.cli import main

from tests.support.commands import Running, Serving, on_terminal, plain, run

APP = """
@ipc_main.handle("tell")
def tell(event, channel, *args):
    for contents in event.sender._hub.web_contents.get_all_web_contents():
        contents.send(channel, *args)
"""


@pytest.fixture
def anyio_backend() -> str:
    """The renderers are not what is tested here: one loop will do."""
    return "asyncio"


async def test_messages_of_everybody_are_printed_in_order(address: str, tmp_path: Path) -> None:
    with Serving(address, app=APP, folder=tmp_path), Running("listen", "a", "b", "-n", "4", "-a", address) as listener:
        await asyncio.to_thread(listener.until, "listening as renderer 1 to a, b")
        async with mainbus.connect(address, name="editor\x1b[31m") as editor:
            await editor.invoke("tell", "a", "ü", [1, {"x": None}])
            # Between what two others send there is no order.
            assert await asyncio.to_thread(listener.line) == 'a  the main process  "ü"  [1, {"x": null}]'
            editor.broadcast("b")
            editor.send_to(1, "a", b"\xff")
            editor.send_to(1, "elsewhere")
            editor.send_to(1, "b", "last\nline\x9b")
            editor.send_to(1, "a", "too many")
            label = "renderer 2 (editor\\u001b[31m)"
            assert [await asyncio.to_thread(listener.line) for _ in range(4)] == [
                f"b  {label}",
                f'a  {label}  "/w=="',
                f'b  {label}  "last\\nline\\u009b"',
                "",
            ]
            assert await asyncio.to_thread(listener.end) == 0


async def test_json_lines_senders_and_ctrl_c(address: str, tmp_path: Path) -> None:
    options = ["--json", "--senders", "renderers", "--name", "ears", "-a", address]
    with Serving(address, app=APP, folder=tmp_path), Running("listen", "a", *options) as listener:
        await asyncio.to_thread(listener.until, "listening as renderer 1 (ears) to a")
        async with mainbus.connect(address) as editor:
            await editor.invoke("tell", "a", "not heard")
            editor.send_to("ears", "a", 1, {"ü"})
            found = json.loads(await asyncio.to_thread(listener.line))
            assert found == {"channel": "a", "sender_id": editor.id, "sender_name": None, "args": [1, ["ü"]]}
        assert await asyncio.to_thread(listener.end, signal.SIGINT) == 130
        assert listener.said == ["mainbus: listening as renderer 1 (ears) to a\n"]


def test_it_waits_for_the_broker_and_ends_with_it(address: str) -> None:
    with Running("listen", "a", "--connect-timeout", "20", "-a", address) as listener, Serving(address) as daemon:
        listener.until("listening")
        assert daemon.end(signal.SIGTERM) == 0
        assert listener.end() == 3
        assert "the broker stops" in listener.said[-1]
        assert len(listener.said) == 2


async def test_a_reader_that_goes_away_ends_it(address: str, tmp_path: Path) -> None:
    with Serving(address, app=APP, folder=tmp_path), Running("listen", "a", "-a", address) as listener:
        await asyncio.to_thread(listener.until, "listening")
        assert listener.process.stdout is not None
        listener.process.stdout.close()
        listener.process.stdout = None
        async with mainbus.connect(address) as editor:
            await editor.invoke("tell", "a")
        assert await asyncio.to_thread(listener.end) == 141
        assert len(listener.said) == 1


async def test_a_terminal_gets_the_channel_in_bold(address: str, tmp_path: Path) -> None:
    with Serving(address, app=APP, folder=tmp_path):
        async with mainbus.connect(address, name="editor") as editor:
            joined = asyncio.Event()
            editor.events.on("peer-joined", lambda id, name: joined.set())
            # Answered when the broker knows who wants to hear of the others.
            await editor.peers()
            shown = asyncio.create_task(asyncio.to_thread(on_terminal, "listen", "a", "-n", "1", "-a", address))
            await joined.wait()
            editor.broadcast("a", "x" * 100)
            code, lines = await shown
    assert code == 0
    # It may come before the broker has said what this command may hear.
    (line,) = [line for line in lines if "listening" not in line]
    # The terminal breaks a long line where it likes; nobody else does.
    assert plain(line) == f'a  renderer {editor.id} (editor)  "{"x" * 100}"'
    assert line.startswith("\x1b[1ma\x1b[0m  renderer ")


def test_time_is_up(address: str) -> None:
    with Serving(address), Running("listen", "a", "-n", "2", "--timeout", "0.1", "-a", address) as listener:
        assert listener.end() == 124
        assert listener.said[-1] == "mainbus: no 2 messages within 0.1 s; --timeout gives it more time\n"


@pytest.mark.contract("8.4")
async def test_channels_that_a_role_does_not_grant_are_said(address: str, tmp_path: Path) -> None:
    config = tmp_path / "mainbus.toml"
    config.write_text("[roles.all]\nmatch = {}\nlisten = ['a']\nbroadcast = ['*']\n")
    with Serving(address, "--config", str(config)):
        done = await asyncio.to_thread(run, "listen", "b", "c", "-a", address)
        denied = "mainbus: Permission denied: listen on "
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{denied}'b'\n{denied}'c'\n")
        with Running("listen", "b", "a", "-n", "1", "-a", address) as listener:
            await asyncio.to_thread(listener.until, "listening as renderer 2 to a\n")
            assert listener.said[:-1] == [f"{denied}'b'\n"]
            async with mainbus.connect(address) as editor:
                editor.broadcast("b", "not heard")
                editor.broadcast("a", "heard")
                assert (await asyncio.to_thread(listener.line)).endswith('  "heard"')
                assert await asyncio.to_thread(listener.end) == 0


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        ([], 2, "CHANNEL"),
        (["a", ""], 2, "0 bytes"),
        (["a", "--count", "0"], 2, "--count"),
        (["a", "--senders", "all"], 2, "any"),
        (["a", "--name", ""], 2, "--name"),
        (["a", "-a", "unix:/no/such/socket"], 3, "`mainbus serve`"),
    ],
)
def test_an_error_is_one_line(arguments: list[str], code: int, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["listen", *arguments]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("mainbus: ")
    assert word in line
