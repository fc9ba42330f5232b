"""The random programs of ports once more, with every port direct as soon as it can be: the model sees no difference."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from mainbus.testing import Bus
from mainbus_broker import Broker, Config
from mainbus_broker.config import Limits

from tests.support.port_model import World, play


@asynccontextmanager
async def forced(address: str) -> AsyncIterator[Bus]:
    """Run a broker whose ports become direct with their first message."""
    async with Broker(address, config=Config(limits=Limits(direct_after=1))) as running:
        bus = Bus(running)
        try:
            yield bus
        finally:
            await bus.disconnect()


async def run(address: str, seed: int, *, leave: bool) -> None:
    async with forced(address) as bus:
        world = World(bus, Random(seed))

        async def talk() -> None:
            """Let there be more traffic than transfers, and time for the system to pass it on."""
            for _ in range(2):
                world.post()
                await asyncio.sleep(world.random.choice((0, 0, 0.001)))

        await play(world, leave=leave, between=talk)


@pytest.mark.contract("7.6", "7.1", "7.2", "7.3", "7.4", "2.19")
@pytest.mark.parametrize("seed", range(3))
async def test_what_is_posted_arrives_once_and_in_order_whichever_way_it_goes(address: str, seed: int) -> None:
    await run(address, 2000 + seed, leave=False)


@pytest.mark.contract("7.6", "7.3", "9.5")
@pytest.mark.parametrize("seed", range(3))
async def test_the_direct_ports_of_who_is_gone_are_closed(address: str, seed: int) -> None:
    await run(address, 3000 + seed, leave=True)
