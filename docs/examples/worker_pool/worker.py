"""A worker: it does one job at a time, and says after each step how far it is."""

import asyncio
from collections.abc import AsyncIterator
from math import isqrt

import mainbus
from mainbus import IpcRendererInvokeEvent

STEP = 500


def count_primes(numbers: range) -> int:
    """Count the slow way: there has to be something to do."""
    return sum(number > 1 and all(number % divisor for divisor in range(2, isqrt(number) + 1)) for number in numbers)


async def main() -> None:
    """Serve until the pool ends this process. The address and a token are in the environment."""
    async with mainbus.connect() as ipc_renderer:

        @ipc_renderer.handle("count-primes")
        async def serve(event: IpcRendererInvokeEvent, first: int, last: int) -> AsyncIterator[tuple[int, int]]:
            found = 0
            looked_at = 0
            try:
                while first + looked_at < last:
                    start = first + looked_at
                    step = range(start, min(start + STEP, last))
                    # In a thread, so that this loop hears of a cancel while the thread computes.
                    found += await asyncio.to_thread(count_primes, step)
                    looked_at += len(step)
                    yield looked_at, found
            finally:
                if first + looked_at < last:
                    ipc_renderer.send("report", f"stopped, with {last - first - looked_at:,} numbers to go")

        await asyncio.Event().wait()


asyncio.run(main())
