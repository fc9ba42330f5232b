"""Completion in the shell: commands, options, and what the broker knows."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import mainbus
import pytest

from tests.support.commands import Serving, run

APP = """
ipc_main.handle("save", lambda event: None)
ipc_main.handle("search", lambda event: None)
ipc_main.on("set-title", lambda event: None)
ipc_main.on("\\x1b[31m", lambda event: None)
"""


@pytest.fixture
def anyio_backend() -> str:
    """The renderers are not what is tested here: one loop will do."""
    return "asyncio"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with TemporaryDirectory(prefix="mb") as folder, Serving(f"unix:{folder}/s", app=APP, folder=Path(folder)) as daemon:
        yield daemon.start["addresses"][0]


def offered(line: str, address: str = "unix:/no/such/socket") -> list[str]:
    """Return what bash is offered at the end of a line."""
    words = f"mainbus {line}".split(" ")
    env = {
        **os.environ,
        "_MAINBUS_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "MAINBUS_ADDRESS": address,
        "MAINBUS_TOKEN": "x",
    }
    done = run("x", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_commands_and_options() -> None:
    assert offered("l") == ["listen", "list"]
    assert offered("listen --sen") == ["--senders"]
    assert offered("listen --senders r") == ["renderers"]


def test_channels_of_the_main_process(address: str) -> None:
    assert offered("invoke s", address) == ["save", "search"]
    assert offered("stream sea", address) == ["search"]
    # One that a terminal would act upon is not offered.
    assert offered("send ", address) == ["set-title"]
    assert offered("invoke --to editor s", address) == []


def test_the_address_of_the_line_counts(address: str) -> None:
    assert offered(f"invoke --address {address} s") == ["save", "search"]


async def test_names_of_renderers(address: str) -> None:
    async with mainbus.connect(address, name="editor"), mainbus.connect(address):
        assert await asyncio.to_thread(offered, "send --to e", address) == ["editor"]


def test_without_a_broker_nothing_is_offered_and_nothing_said() -> None:
    assert offered("invoke s") == []
    assert offered("invoke --address nonsense s") == []


def test_the_module_shows_the_script_too() -> None:
    done = run(
        "--show-completion",
        env={**os.environ, "SHELL": "/bin/bash"},
    )
    assert "No such option" not in done.stderr
