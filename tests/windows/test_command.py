"""The command on Windows: a daemon that is asked, measured and ended from within."""

import json
from pathlib import Path

import pytest

from tests.support.commands import Serving, run

APP = """
import signal

@ipc_main.handle("add")
def add(event, one, two):
    return one + two

@ipc_main.handle("slow")
async def slow(event):
    signal.raise_signal(signal.SIGINT)
    await asyncio.sleep(0.05)
    return "finished"
"""


@pytest.mark.contract("9.8")
def test_a_daemon_serves_and_a_ctrl_c_lets_what_runs_finish(address: str, tmp_path: Path) -> None:
    with Serving(address, "--log-format", "json", app=APP, folder=tmp_path) as daemon:
        assert daemon.start["addresses"] == [address]
        assert run("invoke", "add", "1", "2", "--address", address).stdout.strip() == "3"
        listed = run("list", "--json", "--address", address)
        assert listed.returncode == 0, listed.stderr
        found = [json.loads(line) for line in run("doctor", "--json", "--address", address).stdout.splitlines()]
        pipe = next(finding for finding in found if finding["topic"] == "pipe")
        assert pipe["text"].endswith(f"made by process {daemon.start['pid']} of this user")
        assert run("invoke", "slow", "--address", address).stdout.strip() == '"finished"'
        assert daemon.end() == 0


@pytest.mark.contract("8.3")
def test_a_second_daemon_names_the_first(address: str, tmp_path: Path) -> None:
    with Serving(address, "--log-format", "json", app=APP, folder=tmp_path) as daemon:
        second = run("serve", "--address", address)
        assert second.returncode != 0
        assert f"pid {daemon.start['pid']}" in second.stderr.replace("process", "pid")
