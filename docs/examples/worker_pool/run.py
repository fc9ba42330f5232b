"""A pool of workers: jobs for processes of their own, with progress; one job is cancelled, one worker is killed."""

import asyncio
import os
import signal
import sys
import tempfile

from mainbus_broker import Broker, IpcMain, IpcMainEvent, WebContents
from pool import Pool

PATIENCE = 60.0

ipc_main = IpcMain()


def show(name: str | None, pid: int, text: str) -> None:
    """Print what a process has to say."""
    print(f"  {name:<8} pid {pid:<7} {text}", flush=True)


@ipc_main.on("report")
def report(event: IpcMainEvent, text: str) -> None:
    """Print what a worker says."""
    show(event.sender.name, event.process_id, text)


async def count(pool: Pool, title: str, first: int, last: int) -> None:
    """Run a job, and print each quarter of its way."""
    shown = 0

    def progress(worker: WebContents, looked_at: int) -> None:
        nonlocal shown
        quarter = 4 * looked_at // (last - first)
        if quarter != shown:
            shown = quarter
            show(worker.name, worker.process.pid, f"{title}: {25 * quarter} %")

    show("main", os.getpid(), f"{title}: {await pool.run(first, last, progress)} primes")


async def cancelled(pool: Pool) -> None:
    """Cancel a job that would take for ever as soon as it gets anywhere."""
    begun = asyncio.Event()
    job = asyncio.create_task(pool.run(0, 10**9, lambda worker, looked_at: begun.set()))
    await begun.wait()
    show("main", os.getpid(), "cancelling a long job")
    job.cancel()
    await asyncio.wait([job])


async def killed(pool: Pool) -> None:
    """Kill a worker in the middle of its job: another one does it."""
    victims: list[int] = []

    def progress(worker: WebContents, looked_at: int) -> None:
        if not victims:
            victims.append(worker.process.pid)
            show("main", os.getpid(), f"killing {worker.name}")
            os.kill(worker.process.pid, signal.SIGKILL)
        elif looked_at == 50_000:
            show(worker.name, worker.process.pid, "did the job of the killed worker")

    # A worker is never more than some sixty steps ahead of us: so much credit a stream has. This job has a hundred.
    show("main", os.getpid(), f"in spite of that: {await pool.run(0, 50_000, progress)} primes")


async def main() -> int:
    """Run some jobs; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="mainbus-pool-") as folder:
        async with Broker(f"unix:{folder}/app.sock", ipc_main=ipc_main) as broker, asyncio.timeout(PATIENCE):
            pool = Pool(broker, size=2)
            try:
                await pool.start()
                jobs = [(f"job {number + 1}", number * 20_000, (number + 1) * 20_000) for number in range(3)]
                await asyncio.gather(*(count(pool, *job) for job in jobs))
                await cancelled(pool)
                await killed(pool)
            finally:
                await pool.close()
    return 0


if __name__ == "__main__":
    print("A pool of workers", flush=True)
    sys.exit(asyncio.run(main()))
