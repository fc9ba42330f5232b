"""What `mainbus doctor` asks the broker: whether it answers, its versions, its limits, who lags behind."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator
from dataclasses import asdict
from time import perf_counter
from typing import Any

import mainbus
from mainbus.address import Address
from mainbus.errors import ConnectRefused, MainbusError

from mainbus_broker.cli.findings import Finding, hint, ok, wrong
from mainbus_broker.cli.terminal import duration, size
from mainbus_broker.config import Limits
from mainbus_broker.versions import python_version, version_of


async def examine_broker(address: Address, timeout: float) -> list[Finding]:
    """Return what is found, after `timeout` seconds at most. Safe to cancel."""
    # What goes wrong is said once, by the finding.
    logging.getLogger("mainbus").addHandler(logging.NullHandler())
    # One that is good for one renderer is not for this one.
    os.environ.pop("MAINBUS_TOKEN", None)
    start = perf_counter()
    try:
        async with asyncio.timeout(timeout), mainbus.connect(str(address), reconnect=False) as ipc_renderer:
            status = await ipc_renderer.status()
            took = perf_counter() - start
            renderers = [row for row in status["renderers"] if row["id"] != ipc_renderer.id]
    except TimeoutError:
        text = f"something accepts connections and says nothing in {timeout:g} s: it stands still, or is no broker"
        return [wrong("broker", text, "look at its log, or end it")]
    except MainbusError as error:
        # What it says to do is for programs.
        said = str(error).partition("; ")[0]
        absent = isinstance(error, ConnectRefused) and error.address == str(address)
        return [wrong("broker", said, "`mainbus serve` starts one" if absent else "look at its log")]
    try:
        return list(_examine(status, renderers, took))
    except KeyError as error:
        # Somebody has installed another version while the broker ran.
        text = f"the broker is of another version of mainbus, and does not tell {error}"
        return [wrong("versions", text, "restart it")]


def _examine(status: dict[str, Any], renderers: list[dict[str, Any]], took: float) -> Iterator[Finding]:
    up = duration(status["uptime"])
    there = f"{len(renderers)} renderer{'s' if len(renderers) != 1 else ''}"
    yield ok("broker", f"process {status['pid']} answers in {took * 1000:.0f} ms, up {up}, {there}")
    yield _versions(status)
    yield _speed(status)
    yield _limits(status["limits"])
    for row in renderers:
        if row["queued"] > status["limits"]["low"]:
            name = f" ({row['name']})" if row["name"] else ""
            text = f"renderer {row['id']}{name}, process {row['pid']}, leaves {size(row['queued'])} unread"
            yield hint("flow", text, "it may stand still: look at that process")


def _versions(status: dict[str, Any]) -> Finding:
    theirs, ours = f"mainbus {status['version']}", f"mainbus {version_of('mainbus')}"
    if theirs != ours:
        return hint("versions", f"the broker runs {theirs}, this command {ours}", "install one version, and restart it")
    if status["python"] != python_version():
        return ok("versions", f"{theirs} at both ends; Python {status['python']} there, {python_version()} here")
    return ok("versions", f"{theirs}, Python {status['python']} at both ends")


def _speed(status: dict[str, Any]) -> Finding:
    text = f"the broker runs on {status['loop']} with the {status['codec']} codec"
    if status["loop"] == "asyncio":
        return hint("speed", text, "`pip install uvloop`, or leave --loop out, and it is faster")
    if status["codec"] != "compiled":
        return hint("speed", text, "reinstall mainbus with a C compiler, and it is faster")
    return ok("speed", text)


def _limits(limits: dict[str, Any]) -> Finding:
    defaults = asdict(Limits())
    changed = [f"{key} {limits[key]} (default {defaults[key]})" for key in defaults if limits.get(key) != defaults[key]]
    text = (
        f"message {size(limits['message'])}, depth {limits['depth']}, {limits['pending']} pending and "
        f"{limits['running']} running invokes, {limits['ports']} ports a renderer"
    )
    return ok("limits", f"{text}; changed: {', '.join(changed)}" if changed else f"{text}; the defaults")
