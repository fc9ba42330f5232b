"""`mainbus list`: who is connected, and what the main process offers."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer
from mainbus import IpcRenderer

from mainbus_broker.cli.arguments import Address, ConnectTimeout, Json, seconds
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import as_json, show, table
from mainbus_broker.cli.renderer import run

Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", parser=seconds, help="How long to wait for the broker.")
]


def list_(
    address: Address = None, timeout: Timeout = 10.0, connect_timeout: ConnectTimeout = 0.0, as_lines: Json = False
) -> None:
    """Show the connected renderers and the main channels.

    The channels are those of the main process. The command itself, a renderer too, is left out.
    """

    async def work(ipc_renderer: IpcRenderer) -> None:
        try:
            status = await asyncio.wait_for(ipc_renderer.status(), timeout)
        except TimeoutError:
            text = f"the broker did not answer within {timeout:g} s; --timeout gives it more time"
            raise Failure(text, ExitCode.TIMEOUT) from None
        status["renderers"] = [row for row in status["renderers"] if row["id"] != ipc_renderer.id]
        show(as_json(status, compact=True) if as_lines else "\n".join(_tables(status)))

    run(work, address=address, connect_timeout=connect_timeout)


def _tables(status: dict[str, Any]) -> list[str]:
    heads = ["id", "name", "pid", "role", "uptime", "queued"]
    renderers = [
        [_duration(row[head]) if head == "uptime" else row[head] for head in heads] for row in status["renderers"]
    ]
    channels = [
        [channel, info["listeners"], "yes" if info["handler"] else "no"] for channel, info in status["channels"].items()
    ]
    return [
        f"broker pid {status['pid']}",
        "",
        *(table([head.upper() for head in heads], renderers) if renderers else ["no renderers"]),
        "",
        *(table(["CHANNEL", "LISTENERS", "HANDLER"], channels) if channels else ["no channels"]),
    ]


def _duration(seconds: float) -> str:
    """Return seconds as people read them: the two largest units."""
    if seconds < 60:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}m{rest:02}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours < 24 else f"{hours // 24}d{hours % 24:02}h"
