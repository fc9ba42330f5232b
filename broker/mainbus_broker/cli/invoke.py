"""`mainbus invoke`: call a handler and print its result."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from mainbus import IpcRenderer, NoHandlerError, RemoteError

from mainbus_broker.cli import arguments
from mainbus_broker.cli.arguments import Address, Arguments, Channel, ConnectTimeout, Json, Name, To, seconds
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import as_json, show
from mainbus_broker.cli.remedies import is_streamed, unhandled
from mainbus_broker.cli.renderer import run

EXAMPLES: Final = """
  mainbus invoke dialog:open-file /home --timeout 30
  mainbus invoke save @document.json
  mainbus invoke --to editor zoom 1.5
"""

Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", parser=seconds, help="How long to wait; no limit by default."),
]


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
            raise await unhandled(error, ipc_renderer, target, channel) from None
        except RemoteError as error:
            if is_streamed(error):
                text = f"the handler of {channel!r} streams its result; `mainbus stream` prints that"
                raise Failure(text, ExitCode.FAILED) from None
            raise
        show(as_json(result, compact=as_lines))

    run(work, address=address, name=name, connect_timeout=connect_timeout)
