"""What a command says when its channel was the wrong one, or the command was."""

from __future__ import annotations

from typing import Final

from mainbus import IpcRenderer, NoHandlerError, PermissionDenied, RemoteError

from mainbus_broker.cli.failures import ExitCode, Failure

_MAIN: Final = "`mainbus list` shows what the main process handles"
_LISTENER: Final = "it has a listener: use `mainbus send`"
_OTHER: Final = "a renderer handles the calls of others where it says senders='renderers' or 'any'"


async def unhandled(error: NoHandlerError, ipc_renderer: IpcRenderer, target: int | str, channel: str) -> Failure:
    """Return what is said of a channel that nobody handles at the target."""
    return Failure(f"{error}; {_OTHER if target else await _main(ipc_renderer, channel)}", ExitCode.FAILED)


def is_streamed(error: RemoteError) -> bool:
    """Tell whether a handler has only refused because it streams its result."""
    return error.type_name == "TypeError" and "streams its result" in (error.remote_message or "")


async def _main(ipc_renderer: IpcRenderer, channel: str) -> str:
    try:
        status = await ipc_renderer.status()
    except PermissionDenied:
        return _MAIN
    listened = any(row["channel"] == channel and row["listeners"] for row in status["channels"])
    return _LISTENER if listened else _MAIN
