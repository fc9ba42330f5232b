"""`mainbus invoke`: call a handler and print its result."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from mainbus import IpcRenderer, NoHandlerError, PermissionDenied

from mainbus_broker.cli import arguments
from mainbus_broker.cli.arguments import Address, Arguments, Channel, ConnectTimeout, Json, Name, To, seconds
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import as_json, show
from mainbus_broker.cli.renderer import run

Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", parser=seconds, help="How long to wait; no limit by default."),
]
_REMEDY_MAIN: Final = "`mainbus list` shows what the main process handles"
_REMEDY_LISTENER: Final = "it has a listener: use `mainbus send`"
_REMEDY_OTHER: Final = "a renderer handles the calls of others where it says senders='renderers' or 'any'"


def invoke(
    channel: Channel,
    args: Arguments = None,
    to: To = None,
    timeout: Timeout = None,
    address: Address = None,
    name: Name = None,
    connect_timeout: ConnectTimeout = 0.0,
    as_lines: Json = False,
) -> None:
    """Invoke a handler and print its result as JSON.

    The handler is one of the main process, or with --to of another renderer.
    """
    values = arguments.values(args or [])

    async def work(ipc_renderer: IpcRenderer) -> None:
        target = 0 if to is None else arguments.target(to)
        try:
            result = await ipc_renderer.invoke_to(target, channel, *values, timeout=timeout)
        except NoHandlerError as error:
            remedy = _REMEDY_OTHER if target else await _remedy_main(ipc_renderer, channel)
            raise Failure(f"{error}; {remedy}", ExitCode.FAILED) from None
        show(as_json(result, compact=as_lines))

    run(work, address=address, name=name, connect_timeout=connect_timeout)


async def _remedy_main(ipc_renderer: IpcRenderer, channel: str) -> str:
    try:
        status = await ipc_renderer.status()
    except PermissionDenied:
        return _REMEDY_MAIN
    return _REMEDY_LISTENER if status["channels"].get(channel, {}).get("listeners") else _REMEDY_MAIN
