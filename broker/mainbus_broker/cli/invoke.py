"""`mainbus invoke`: call a handler and print its result."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from mainbus import IpcRenderer, NoHandlerError

from mainbus_broker.cli import arguments
from mainbus_broker.cli.arguments import Address, Arguments, Channel, ConnectTimeout, Json, Name, To
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import as_json, show
from mainbus_broker.cli.renderer import run

Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", min=0, help="How long to wait for the result; no limit by default."),
]
_REMEDY_MAIN: Final = "`mainbus list` shows what the main process handles"
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
    """Invoke a handler of the main process, or with --to of another renderer, and print its result as JSON."""
    values = arguments.values(args or [])

    async def work(ipc_renderer: IpcRenderer) -> None:
        target = 0 if to is None else arguments.target(to)
        try:
            result = await ipc_renderer.invoke_to(target, channel, *values, timeout=timeout)
        except NoHandlerError as error:
            raise Failure(f"{error}; {_REMEDY_MAIN if target == 0 else _REMEDY_OTHER}", ExitCode.FAILED) from None
        show(as_json(result, compact=as_lines))

    run(work, address=address, name=name, connect_timeout=connect_timeout)
