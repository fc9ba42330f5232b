"""Random programs of ports: mainbus and a simple model agree on what arrives where, in which order, and who is told."""

import asyncio
import gc
from random import Random

import pytest
from mainbus.testing import broker

from tests.support.port_model import World

STEPS = 80


async def run(seed: int, *, leave: bool, steps: int = STEPS) -> None:
    async with broker() as bus:
        world = World(bus, Random(seed))
        for name in ("a", "b", "c"):
            await world.connect(name)
        for _ in range(steps):
            await world.step(leave=leave)
        try:
            await world.finish()
        except TimeoutError:
            for task in world.tasks:
                task.cancel()
            pytest.fail(f"seed {seed}: " + "\n".join(world.wrong()[:20]))
        for owner in world.owners:
            for end in list(owner.ends):
                if end.handle is not None:
                    end.handle.close()
        for end in world.ends:
            # Nobody holds what waits in a port that was closed and never started.
            end.handle = None
        for _ in range(1000):
            await bus.settle()
            if not world.registries():
                break
            gc.collect()
            await asyncio.sleep(0.001)
        assert world.registries() == {}, f"seed {seed}"
        await asyncio.gather(*world.tasks)


@pytest.mark.contract("7.1", "7.2", "7.3", "7.4", "2.19")
@pytest.mark.parametrize("seed", range(6))
async def test_what_is_posted_arrives_once_and_in_order_wherever_the_ends_go(seed: int) -> None:
    await run(seed, leave=False)


@pytest.mark.contract("7.3", "9.5")
@pytest.mark.parametrize("seed", range(6))
async def test_the_ends_of_who_is_gone_are_closed(seed: int) -> None:
    await run(1000 + seed, leave=True)
