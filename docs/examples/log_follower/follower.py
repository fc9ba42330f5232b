"""The follower: it tails a file and broadcasts each line. Whoever comes later asks for the last lines."""

import asyncio
import sys
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path

import mainbus
from mainbus import IpcRendererInvokeEvent

KEPT = 1000
EVERY = 0.05
"""Seconds between two looks at a file that has not grown."""

Line = tuple[int, str]


async def tail(path: Path) -> AsyncIterator[str]:
    """Yield each line of a file, and those that somebody appends, for ever."""
    rest = ""
    with path.open(encoding="utf-8", errors="replace") as file:
        while True:
            text = file.readline()
            rest += text
            if not text:
                await asyncio.sleep(EVERY)
            elif text.endswith("\n"):  # else somebody is in the middle of writing it
                yield rest.removesuffix("\n")
                rest = ""


async def main(path: Path) -> None:
    """Follow the file until somebody ends this process."""
    kept: deque[Line] = deque(maxlen=KEPT)
    sent = 0

    # What is registered before the renderer opens is there before anybody can ask.
    ipc_renderer = mainbus.connect(name="follower", connect_timeout=10)

    # Without `senders` only the main process could ask; "any" are both.
    @ipc_renderer.handle("log:last", senders="renderers")
    def last(event: IpcRendererInvokeEvent, count: int) -> list[Line]:
        return list(kept)[-count:] if count > 0 else []

    @ipc_renderer.handle("log:sent", senders="any")
    def how_many(event: IpcRendererInvokeEvent) -> int:
        return sent

    async with ipc_renderer:
        async for text in tail(path):
            sent += 1
            kept.append((sent, text))
            ipc_renderer.broadcast("log:line", sent, text)
            # `broadcast` itself waits for nobody. This waits until the slowest viewer keeps up: the file is read at
            # its pace, and what is not read yet needs no memory.
            await ipc_renderer.drain()


asyncio.run(main(Path(sys.argv[1])))
