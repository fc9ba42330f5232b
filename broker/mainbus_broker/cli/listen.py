"""`mainbus listen`: print messages as they come."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from mainbus import IpcRenderer, IpcRendererEvent, PermissionDenied
from mainbus.errors import ConnectionLost

from mainbus_broker.cli.arguments import Address, ConnectTimeout, Json, Name, channel, seconds, whole
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.output import as_json, as_line, say, show
from mainbus_broker.cli.renderer import run
from mainbus_broker.cli.terminal import styled
from mainbus_broker.logs import visible


class Senders(StrEnum):
    """Whose messages are printed."""

    MAIN = "main"
    RENDERERS = "renderers"
    ANY = "any"


def _channels(texts: list[str]) -> list[str]:
    return [channel(text) for text in texts]


EXAMPLES: Final = """
  mainbus listen title-changed
  mainbus listen news --name ears & mainbus send --to ears news hello
  mainbus listen news --count 1 --json | jq '.args[0]'
"""

Channels = Annotated[list[str], typer.Argument(metavar="CHANNEL...", help="The channels.", callback=_channels)]
Count = Annotated[
    int | None, typer.Option("--count", "-n", metavar="N", parser=whole(1), help="End after so many messages.")
]
Timeout = Annotated[
    float | None,
    typer.Option("--timeout", metavar="SECONDS", parser=seconds, help="Fail if it has not ended by then."),
]
From = Annotated[
    Senders, typer.Option("--senders", help="Whose messages; code gets those of main alone unless it says so.")
]


def listen(
    channels: Channels,
    count: Count = None,
    timeout: Timeout = None,
    senders: From = Senders.ANY,
    address: Address = None,
    name: Name = None,
    connect_timeout: ConnectTimeout = 0.0,
    as_lines: Json = False,
) -> None:
    """Print the messages that others send here, a line each.

    Broadcasts and what the main process sends to every renderer arrive by themselves; with --name others can send to
    this command alone. Channels that its role does not let it hear are said at once. Ctrl-C ends it.
    """

    async def work(ipc_renderer: IpcRenderer) -> None:
        printer = _Printer(count, as_lines)
        for name in dict.fromkeys(channels):
            ipc_renderer.on(name, printer.message, senders=senders.value)
        ipc_renderer.events.on("gap", lambda: say("messages may have been lost: a process on their way died"))
        ipc_renderer.events.on("disconnected", printer.disconnected)
        heard = await _heard(ipc_renderer, list(dict.fromkeys(channels)))
        label = f" ({ipc_renderer.name})" if ipc_renderer.name else ""
        say(f"listening as renderer {ipc_renderer.id}{label} to {', '.join(heard)}")
        try:
            await asyncio.wait_for(printer.done, timeout)
        except TimeoutError:
            wanted = f"{count} messages" if count and count > 1 else "message" if count else "end"
            raise Failure(f"no {wanted} within {timeout:g} s; --timeout gives it more time", ExitCode.TIMEOUT) from None

    run(work, address=address, name=name, connect_timeout=connect_timeout)


async def _heard(ipc_renderer: IpcRenderer, channels: list[str]) -> list[str]:
    """Return the channels that the renderer's role lets it hear, and say which it does not."""
    heard = [channel for channel in channels if await ipc_renderer.granted("listen", channel)]
    refused = [str(PermissionDenied("listen", channel)) for channel in channels if channel not in heard]
    if not heard:
        raise Failure(refused[0], ExitCode.FAILED, lines=refused)
    for text in refused:
        say(text)
    return heard


class _Printer:
    """Prints messages until there were enough of them."""

    def __init__(self, count: int | None, as_lines: bool) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = count
        self._as_lines = as_lines

    def message(self, event: IpcRendererEvent, *args: object) -> None:
        if self.done.done():
            return
        try:
            show(self._json(event, args) if self._as_lines else self._text(event, args))
        except Exception as error:  # noqa: BLE001 - raised where the command awaits it, not to the dispatch
            self.done.set_exception(error)
            return
        if self._left is not None:
            self._left -= 1
            if not self._left:
                self.done.set_result(None)

    def disconnected(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(ConnectionLost(reason))

    @staticmethod
    def _text(event: IpcRendererEvent, args: tuple[Any, ...]) -> str:
        head = f"{styled(visible(event.channel), 'bold')}  {visible(event.sender_label)}"
        return "  ".join([head, *map(as_line, args)])

    @staticmethod
    def _json(event: IpcRendererEvent, args: tuple[Any, ...]) -> str:
        sender = {"sender_id": event.sender_id, "sender_name": event.sender_name or None}
        return as_json({"channel": event.channel, **sender, "args": args}, compact=True)
