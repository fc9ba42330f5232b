"""`mainbus stream`: call a streaming handler and print its items as they come."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from mainbus import IpcRenderer, NoHandlerError

from mainbus_broker.cli import arguments
from mainbus_broker.cli.arguments import Address, Arguments, Channel, ConnectTimeout, Name, To, seconds, whole
from mainbus_broker.cli.output import as_json, as_line, show
from mainbus_broker.cli.remedies import unhandled
from mainbus_broker.cli.renderer import run

EXAMPLES: Final = """
  mainbus stream search "needle"
  mainbus stream log --count 10 --timeout 60
  mainbus stream --to worker progress --json | jq .percent
"""

Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout", metavar="SECONDS", parser=seconds, help="How long all of it may take; no limit by default."
    ),
]
Count = Annotated[
    int | None, typer.Option("--count", "-n", metavar="N", parser=whole(1), help="End after so many items.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the items for programs: ASCII only.")]


def stream(
    channel: Channel,
    args: Arguments = None,
    to: To = None,
    count: Count = None,
    timeout: Timeout = None,
    address: Address = None,
    name: Name = None,
    connect_timeout: ConnectTimeout = 0.0,
    as_lines: Json = False,
) -> None:
    """Print the items of a streaming handler as they come.

    Each is a line of JSON. The handler is one of the main process, or with --to of another renderer; it goes on only as
    fast as the items are printed. Ctrl-C ends it, and the handler.
    """
    values = arguments.values(args or [])

    async def work(ipc_renderer: IpcRenderer) -> None:
        target = 0 if to is None else arguments.target(to)
        left = count
        try:
            async with ipc_renderer.stream_to(target, channel, *values, timeout=timeout) as items:
                async for item in items:
                    show(as_json(item, compact=True) if as_lines else as_line(item))
                    if left is not None:
                        left -= 1
                        if not left:
                            break
        except NoHandlerError as error:
            raise await unhandled(error, ipc_renderer, target, channel) from None

    run(work, address=address, name=name, connect_timeout=connect_timeout)
