"""The worker: whoever holds the other port can give it work. It ends when its first client does."""

import asyncio

import mainbus
from mainbus import IpcRendererEvent


def primes(limit: int) -> int:
    """Return how many primes are less than `limit`."""
    sieve = bytearray([1]) * limit
    for number in range(2, int(limit**0.5) + 1):
        if sieve[number]:
            sieve[number * number :: number] = bytes(len(range(number * number, limit, number)))
    return sum(sieve[2:])


async def main() -> None:
    """Serve one client."""
    served = asyncio.Event()
    async with mainbus.connect() as ipc_renderer:

        @ipc_renderer.on("new-client")
        async def serve(event: IpcRendererEvent, client: str) -> None:
            (port,) = event.ports
            count = 0
            # What the client has posted before the port came here is there, too. It ends when the client closes.
            async for message in port:
                port.post_message((message.data, primes(message.data)))
                count += 1
            ipc_renderer.send("report", f"{client} has closed its port after {count} messages")
            served.set()

        await served.wait()


asyncio.run(main())
