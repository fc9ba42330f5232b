"""A pool of worker processes: whoever has a job awaits `run`, and cancels it by cancelling that."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

from mainbus import ObjectDestroyedError, ReplyNeverSent
from mainbus_broker import Broker, WebContents

WORKER = Path(__file__).resolve().parent / "worker.py"
ATTEMPTS = 3
"""A job that has ended so many workers is at fault itself."""

Progress = Callable[[WebContents, int], None]


class Pool:
    """Each worker has one job at a time; who comes when all are busy waits.

    Args:
        broker: Where the workers connect.
        size: How many there are.
    """

    def __init__(self, broker: Broker, size: int) -> None:
        self._broker = broker
        self._size = size
        self._started = 0
        self._idle: asyncio.Queue[WebContents] = asyncio.Queue()
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self) -> None:
        """Start the workers."""
        for _ in range(self._size):
            await self._add()

    async def run(self, first: int, last: int, progress: Progress) -> int:
        """Have a worker count the primes from `first` to `last`; `progress` hears how many numbers it has looked at.

        Safe to cancel: the worker stops at once, and takes the next job.
        """
        for _ in range(ATTEMPTS):
            worker = await self._idle.get()
            found = 0
            try:
                # Leaving this block, however that happens, closes the stream, and so ends the generator in the worker.
                async with worker.stream("count-primes", first, last) as steps:
                    async for looked_at, so_far in steps:
                        progress(worker, looked_at)
                        found = so_far
                return found
            except (ReplyNeverSent, ObjectDestroyedError):
                # It has died, in the middle of the job or before it. Somebody else does the job, from its start.
                await self._add()
            finally:
                if not worker.is_destroyed():
                    self._idle.put_nowait(worker)
        raise RuntimeError(f"{ATTEMPTS} workers died of counting from {first} to {last}")

    async def close(self) -> None:
        """End the workers."""
        for process in self._processes:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def _add(self) -> None:
        self._started += 1
        spawned = await self._broker.spawn([sys.executable, str(WORKER)], name=f"worker-{self._started}")
        self._processes.append(spawned.process)
        self._idle.put_nowait(spawned.contents)
