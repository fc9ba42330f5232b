"""A log follower: one process tails a file, others see its lines. A slow one makes it wait, a late one catches up.

This process is the broker between them, starts them, and writes the log.
"""

import asyncio
import sys
import tempfile
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from mainbus_broker import Broker, Spawned

FOLDER = Path(__file__).resolve().parent
PATIENCE = 60.0
LINES = 2000
LENGTH = 4000
"""Long lines, tracebacks say: the sooner do they fill what waits between two processes."""


async def start(broker: Broker, stack: AsyncExitStack, name: str, program: str, *arguments: str) -> Spawned:
    """Start a program as a renderer of that name, and wait until it has connected; the stack ends it."""
    spawned = await broker.spawn([sys.executable, str(FOLDER / program), *arguments], name=name)
    stack.push_async_callback(end, spawned.process)
    return spawned


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process that has not ended."""
    if process.returncode is None:
        process.terminate()
    await process.wait()


async def write(path: Path, numbers: range) -> None:
    """Be the service whose log it is."""
    with path.open("a", encoding="utf-8") as file:
        for number in numbers:
            file.write(f"request {number} ".ljust(LENGTH, ".") + "\n")
            await asyncio.sleep(0)


async def main() -> int:
    """Run all of them; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="mainbus-log-") as folder:
        path = Path(folder) / "service.log"
        path.touch()
        address = f"unix:{folder}/app.sock"
        async with Broker(address) as broker, asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
            run = partial(start, broker, stack)
            follower = await run("follower", "follower.py", str(path))
            until = ("--until", f"request {LINES} ")
            quick = await run("quick", "viewer.py", *until, "--every", "500")
            slow = await run("slow", "viewer.py", *until, "--every", "500", "--pause", "0.001")
            await write(path, range(1, LINES // 2 + 1))
            while await follower.contents.invoke("log:sent") < LINES // 2:  # noqa: ASYNC110 - it is in another process
                await asyncio.sleep(0.05)
            late = await run("late", "viewer.py", *until, "--every", "500", "--last", "3")
            await write(path, range(LINES // 2 + 1, LINES + 1))
            codes = [await viewer.process.wait() for viewer in (quick, slow, late)]
    return max(codes)


if __name__ == "__main__":
    print("A log follower", flush=True)
    sys.exit(asyncio.run(main()))
