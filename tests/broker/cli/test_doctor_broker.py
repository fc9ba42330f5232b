"""What the doctor asks the broker."""

import asyncio
import socket
from dataclasses import asdict
from typing import Any

import pytest
from mainbus import ConnectRefused
from mainbus.address import parse
from mainbus_broker import Config, Limits, queries
from mainbus_broker.cli.doctor_broker import _examine, examine_broker
from mainbus_broker.cli.findings import Finding, Level
from mainbus_broker.hub import Hub
from mainbus_broker.versions import python_version, version_of

from tests.support.bus import Bus

STATUS: dict[str, Any] = {
    "pid": 7,
    "uptime": 61.0,
    "version": version_of("mainbus"),
    "python": python_version(),
    "loop": "uvloop 1.0",
    "codec": "compiled",
    "limits": asdict(Limits()),
}


def found(renderers: list[dict[str, Any]] | None = None, **changed: Any) -> dict[str, Finding]:
    return {finding.topic: finding for finding in _examine({**STATUS, **changed}, renderers or [], 0.002)}


async def test_a_broker_that_answers(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=7))) as bus:
        _ = await bus.renderer()
        findings = {finding.topic: finding for finding in await examine_broker(parse(address), 10)}
    assert list(findings) == ["broker", "versions", "speed", "limits"]
    assert "1 renderer" in findings["broker"].text
    assert findings["limits"].text.endswith("changed: running 7 (default 256)")


async def test_nobody_is_there(address: str) -> None:
    (finding,) = await examine_broker(parse(address), 10)
    assert (finding.level, finding.remedy) == (Level.WRONG, "`mainbus serve` starts one")


async def test_something_that_is_no_broker(address: str) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(address.removeprefix("unix:"))
        sock.listen()
        (finding,) = await examine_broker(parse(address), 0.05)
    assert finding.level is Level.WRONG
    assert "says nothing in 0.05 s" in finding.text


async def test_a_broker_that_refuses(address: str) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(Hub.refusal(ConnectRefused("this broker", "it is stopping")))
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(refuse, address.removeprefix("unix:")):
        (finding,) = await examine_broker(parse(address), 10)
    assert finding.level is Level.WRONG
    assert "it is stopping" in finding.text
    assert finding.remedy == "look at its log"


async def test_a_token_that_is_meant_for_another_renderer_is_left_alone(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAINBUS_TOKEN", "no such token")
    async with Bus(address):
        assert len(await examine_broker(parse(address), 10)) == 4


def test_all_is_well() -> None:
    assert {finding.level for finding in found().values()} == {Level.OK}
    assert found()["broker"].text == "process 7 answers in 2 ms, up 1m01s, 0 renderers"
    assert found(python="3.99.0")["versions"].level is Level.OK


@pytest.mark.parametrize(
    ("changed", "topic", "word"),
    [
        ({"version": "0.0.1"}, "versions", "the broker runs mainbus 0.0.1"),
        ({"loop": "asyncio"}, "speed", "on asyncio"),
        ({"codec": "pure"}, "speed", "the pure codec"),
    ],
)
def test_what_could_be_better(changed: dict[str, Any], topic: str, word: str) -> None:
    finding = found(**changed)[topic]
    assert finding.level is Level.HINT
    assert word in finding.text


async def test_a_broker_that_tells_less_is_of_another_version(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "status", lambda hub: {"pid": 1, "renderers": [], "channels": []})
    async with Bus(address):
        (finding,) = await examine_broker(parse(address), 10)
    assert (finding.level, finding.topic, finding.remedy) == (Level.WRONG, "versions", "restart it")


def test_a_renderer_that_lags_behind_is_named() -> None:
    rows: list[dict[str, Any]] = [
        {"id": 1, "name": "slow", "pid": 8, "queued": 1 << 20},
        {"id": 2, "name": None, "pid": 9, "queued": 100},
    ]
    assert found(rows)["flow"].text == "renderer 1 (slow), process 8, leaves 1 MiB unread"
