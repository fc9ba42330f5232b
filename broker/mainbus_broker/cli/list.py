"""`mainbus list`: who is connected, and what the main process offers."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Final

import typer
from mainbus import IpcRenderer

from mainbus_broker.cli.arguments import Address, ConnectTimeout, Json, seconds
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import as_json, show
from mainbus_broker.cli.renderer import run
from mainbus_broker.cli.terminal import Column, duration, size, table

EXAMPLES: Final = """
  mainbus list
  mainbus list --address unix:/run/user/1000/app.sock
  mainbus list --json | jq '.renderers[].name'
"""

Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", parser=seconds, help="How long to wait for the broker.")
]
_RENDERERS: Final = (
    Column("ID", right=True),
    Column("NAME"),
    Column("PID", right=True),
    Column("ROLE"),
    Column("UPTIME", right=True),
    Column("QUEUED", right=True),
)
_CHANNELS: Final = (Column("CHANNEL"), Column("LISTENERS", right=True), Column("HANDLER"), Column("WHO"))


def list_(
    address: Address = None, timeout: Timeout = 10.0, connect_timeout: ConnectTimeout = 0.0, as_lines: Json = False
) -> None:
    """Show the connected renderers and the channels of main.

    QUEUED is what waits for a renderer that does not read it. WHO is main where the main process listens or handles
    for everybody, and a renderer where it does so for that one alone. The command itself, a renderer too, is left out.
    """

    async def work(ipc_renderer: IpcRenderer) -> None:
        try:
            status = await asyncio.wait_for(ipc_renderer.status(), timeout)
        except TimeoutError:
            text = f"the broker did not answer within {timeout:g} s; --timeout gives it more time"
            raise Failure(text, ExitCode.TIMEOUT) from None
        status["renderers"] = [row for row in status["renderers"] if row["id"] != ipc_renderer.id]
        show(as_json(status, compact=True) if as_lines else _tables(status))

    run(work, address=address, connect_timeout=connect_timeout)


def _tables(status: dict[str, Any]) -> str:
    names = {row["id"]: _label(row) for row in status["renderers"]}
    renderers = [
        [row["id"], row["name"], row["pid"], row["role"], duration(row["uptime"]), size(row["queued"])]
        for row in status["renderers"]
    ]
    channels = [
        [
            row["channel"],
            row["listeners"],
            "yes" if row["handler"] else "no",
            _who(row, names),
        ]
        for row in status["channels"]
    ]
    head = f"broker pid {status['pid']}, up {duration(status['uptime'])}, mainbus {status['version']}"
    return "\n\n".join(
        [
            head,
            table(_RENDERERS, renderers) if renderers else "no renderers",
            table(_CHANNELS, channels) if channels else "no channels",
        ]
    )


def _who(row: dict[str, Any], names: dict[int, str]) -> str:
    """Say for whom a channel is."""
    if not row["renderer"]:
        return "main"
    name = names.get(row["renderer"], "this command")
    return name if row["frame"] is None else f"{name}, frame {row['frame']}"


def _label(row: dict[str, Any]) -> str:
    named = f" ({row['name']})" if row["name"] else ""
    return f"renderer {row['id']}{named}"
