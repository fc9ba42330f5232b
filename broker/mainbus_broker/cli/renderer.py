"""How a command becomes a renderer for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import mainbus
from mainbus.address import default_address, parse
from mainbus.errors import MainbusError

from mainbus_broker.cli.failures import ExitCode, Failure, explain

Work = Callable[[mainbus.IpcRenderer], Coroutine[Any, Any, None]]


def run(work: Work, *, address: str | None, name: str | None = None, connect_timeout: float = 0.0) -> None:
    """Connect, do the work, and say goodbye.

    Args:
        work: What to do with the open renderer.
        address: Where the broker is; None: the default address.
        name: The name to connect with, if any.
        connect_timeout: Seconds to wait for a broker that is not there yet.

    Raises:
        Failure: Something went wrong; it says what, in one line.
    """
    # What goes wrong is said once, by the failure.
    logging.getLogger("mainbus").addHandler(logging.NullHandler())
    try:
        asyncio.run(_run(work, address, name, connect_timeout))
    except MainbusError as error:
        raise explain(error) from error
    except BrokenPipeError:
        # Nothing can be said on standard output any more, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Failure("nobody reads the output any more", ExitCode.PIPE, lines=()) from None


async def _run(work: Work, address: str | None, name: str | None, connect_timeout: float) -> None:
    where = default_address(across=True) if address is None else parse(address, across=True)
    try:
        renderer = mainbus.connect(str(where), name=name, connect_timeout=connect_timeout, reconnect=False)
    except ValueError as error:
        if isinstance(error, MainbusError):
            raise
        raise Failure(f"--name: {error}", ExitCode.USAGE) from None
    async with renderer:
        await work(renderer)
