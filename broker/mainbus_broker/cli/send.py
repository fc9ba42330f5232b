"""`mainbus send`: send a one-way message."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

import typer
from mainbus import InvokeTimeout, IpcRenderer, MainbusError, NoHandlerError, PermissionDenied, ReplyNeverSent

from mainbus_broker.cli import arguments
from mainbus_broker.cli.arguments import Address, Arguments, Channel, ConnectTimeout, Json, Name, To, seconds
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import as_json, show
from mainbus_broker.cli.renderer import run

EXAMPLES: Final = """
  mainbus send set-title "Hello"
  mainbus send --to editor open '{"path": "a.txt", "line": 7}'
  date | jq -R . | mainbus send log @-
"""

Timeout = Annotated[
    float,
    typer.Option("--timeout", metavar="SECONDS", parser=seconds, help="How long the message may take."),
]
_DEFAULT: Final = 10.0
_UNHEARD: Final = "nobody listens there"
"""What a renderer says that has no listener for a message."""
_DENIED: Final = "Permission denied: "
"""How the broker begins to say that a role does not grant it."""


def send(
    channel: Channel,
    args: Arguments = None,
    to: To = None,
    timeout: Timeout = _DEFAULT,
    address: Address = None,
    name: Name = None,
    connect_timeout: ConnectTimeout = 0.0,
    as_lines: Json = False,
) -> None:
    """Send a message and print nothing.

    It goes to the main process, or with --to to another renderer. With --json a line says that it has arrived.
    """
    values = arguments.values(args or [])

    async def work(ipc_renderer: IpcRenderer) -> None:
        target = 0 if to is None else arguments.target(to)
        await _send_to(ipc_renderer, target, channel, values, timeout)
        if as_lines:
            show(as_json({"target": target, "channel": channel}, compact=True))

    run(work, address=address, name=name, connect_timeout=connect_timeout)


async def _send_to(
    ipc_renderer: IpcRenderer, target: int | str, channel: str, values: list[object], timeout: float
) -> None:
    refused: list[str] = []
    ipc_renderer.events.on("undeliverable", lambda target, channel, reason: refused.append(reason))
    ipc_renderer.send_to(target, channel, *values)
    try:
        await _confirm(ipc_renderer, target, channel, timeout)
    except MainbusError:
        if not refused:
            raise
    if refused:
        raise Failure(_undeliverable(target, channel, refused[0]), ExitCode.FAILED)


def _undeliverable(target: int | str, channel: str, reason: str) -> str:
    if reason == _UNHEARD:
        who = "takes messages of renderers (senders='renderers' or 'any')"
        return f"renderer {target!r} has no listener for {channel!r} that {who}"
    if reason.startswith(_DENIED):
        return reason
    return f"{channel!r} could not be delivered to {target!r}: {reason}; `mainbus list` shows who is there"


async def _confirm(ipc_renderer: IpcRenderer, target: int | str, channel: str, timeout: float) -> None:
    """Wait until the target has taken the message.

    Messages of one pair arrive in order: whatever the target answers to an invoke that follows the message, it comes
    after the message has arrived, and after the news that nobody listens.
    """
    try:
        await ipc_renderer.invoke_to(target, f"mainbus:nobody-handles-this:{secrets.token_hex(8)}", timeout=timeout)
    except (NoHandlerError, PermissionDenied):
        return
    except ReplyNeverSent:
        raise ReplyNeverSent(channel) from None
    except InvokeTimeout:
        raise InvokeTimeout(channel, timeout) from None
