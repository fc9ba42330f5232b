"""The window: it asks the main process for a port to the worker, and from then on talks to the worker alone."""

import asyncio

import mainbus

LIMITS = (10, 1_000, 100_000)


async def main() -> None:
    """Have the worker count primes."""
    async with mainbus.connect() as ipc_renderer:
        ipc_renderer.send("request-worker-channel")
        event, _ = await ipc_renderer.wait_for("worker-channel", timeout=10)
        (port,) = event.ports
        for limit in LIMITS:
            port.post_message(limit)
        answers = 0
        async for message in port:
            limit, count = message.data
            ipc_renderer.send("report", f"the worker says: {count} primes below {limit}")
            answers += 1
            if answers == len(LIMITS):
                port.close()


asyncio.run(main())
