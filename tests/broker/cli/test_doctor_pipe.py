"""What the doctor finds at a pipe."""

import os
import sys

import pytest
from mainbus import windows
from mainbus.address import parse
from mainbus_broker.cli.doctor_pipe import examine_pipe
from mainbus_broker.cli.findings import Finding, Level

from tests.support.bus import Bus

assert sys.platform == "win32"


def found(address: str) -> Finding:
    (one,) = examine_pipe(parse(address))
    return one


def test_none_is_there(address: str) -> None:
    finding = found(address)
    assert finding.level is Level.OK
    assert "is not there: no broker has this address" in finding.text


async def test_one_of_ours(address: str) -> None:
    async with Bus(address):
        finding = found(address)
    assert (finding.level, finding.topic) == (Level.OK, "pipe")
    assert finding.text.endswith(f"made by process {os.getpid()} of this user")


async def test_one_of_somebody_else(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bus(address):
        monkeypatch.setattr(windows, "current_user", lambda: "S-1-5-21-1-2-3-1001")
        finding = found(address)
        monkeypatch.undo()
    assert (finding.level, finding.remedy) == (Level.WRONG, "choose another address")
    assert "belongs to another user" in finding.text
