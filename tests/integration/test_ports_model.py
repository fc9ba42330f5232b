"""Random programs of ports: mainbus and a simple model agree on what arrives where, in which order, and who is told."""

from random import Random

import pytest
from mainbus.testing import broker

from tests.support.port_model import World, play


async def run(seed: int, *, leave: bool) -> None:
    async with broker() as bus:
        await play(World(bus, Random(seed)), leave=leave)


@pytest.mark.contract("7.1", "7.2", "7.3", "7.4", "2.19")
@pytest.mark.parametrize("seed", range(6))
async def test_what_is_posted_arrives_once_and_in_order_wherever_the_ends_go(seed: int) -> None:
    await run(seed, leave=False)


@pytest.mark.contract("7.3", "9.5")
@pytest.mark.parametrize("seed", range(6))
async def test_the_ends_of_who_is_gone_are_closed(seed: int) -> None:
    await run(1000 + seed, leave=True)
