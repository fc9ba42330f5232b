"""What a shell is offered at TAB: channels and renderers, as the broker knows them; nothing if it cannot be asked."""

from __future__ import annotations

from typing import Any, Final

import typer

_PATIENCE: Final = 1.0
"""Seconds that somebody waits who has pressed TAB."""


def channels(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return channels of the main process: with listeners for `send`, else with a handler."""
    if ctx.params.get("to"):
        # What other renderers listen to and handle, only they know.
        return []
    wanted = "listeners" if ctx.info_name == "send" else "handler"
    return [
        row["channel"]
        for row in _status(ctx).get("channels", ())
        if row[wanted]
        and not row["renderer"]
        and row["channel"].startswith(incomplete)
        and row["channel"].isprintable()
    ]


def renderers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of renderers."""
    names = [row["name"] for row in _status(ctx).get("renderers", ())]
    return [name for name in names if name and name.startswith(incomplete) and name.isprintable()]


def _status(ctx: typer.Context) -> dict[str, Any]:
    import asyncio
    import logging
    import os

    import mainbus

    # One that is good for one renderer is not for this one; and the shell must hear of nothing.
    os.environ.pop("MAINBUS_TOKEN", None)
    logging.getLogger("mainbus").addHandler(logging.NullHandler())

    async def ask() -> dict[str, Any]:
        async with asyncio.timeout(_PATIENCE), mainbus.connect(ctx.params.get("address"), reconnect=False) as asking:
            return await asking.status()

    try:
        return asyncio.run(ask())
    except (mainbus.MainbusError, OSError):
        # No broker, or no time: there is nothing to offer.
        return {}
