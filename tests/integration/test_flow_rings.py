"""Everybody talks to everybody at once, in pairs, in rings and nested: nobody waits for ever, and nothing piles up."""

import asyncio
from typing import Any

import pytest
from mainbus import IpcRenderer
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, until

KIB, MIB = 1024, 1024 * 1024
SMALL = Limits(high=64 * KIB, low=16 * KIB)
PIECE = b"x" * (4 * KIB)

pytestmark = pytest.mark.contract("9.1", "9.2", "9.3")


async def watched(bus: Bus, renderers: list[IpcRenderer], replies: list[Any]) -> tuple[list[Any], int, int]:
    """Await all replies; returns the results, and the most bytes that the broker and that one renderer had waiting."""
    everything = asyncio.ensure_future(asyncio.gather(*replies))
    most_held = most_queued = 0
    async with asyncio.timeout(20):
        while not everything.done():
            most_held = max(most_held, bus.broker.stats()["held"])
            most_queued = max(most_queued, *(renderer.stats()["queued"] for renderer in renderers))
            await asyncio.sleep(0)
    return everything.result(), most_held, most_queued


@pytest.mark.parametrize("count", [2, 5])
async def test_a_ring_in_which_each_floods_the_next_goes_round(count: int, address: str) -> None:
    async with Bus(address, config=Config(limits=SMALL)) as bus:
        names = [f"r{number}" for number in range(count)]
        ring = [await bus.renderer(name) for name in names]
        heard = dict.fromkeys(names, 0)

        async def echo(event: Any, number: int, _: bytes) -> int:
            await asyncio.sleep(0)
            return number

        def item(event: Any, _: bytes) -> None:
            heard[event.sender.name] += 1

        for renderer in ring:
            renderer.handle("echo", echo, senders="any")
            renderer.on("item", item, senders="any")
        each = 300
        replies = []
        for number in range(each):
            for index, renderer in enumerate(ring):
                target = names[(index + 1) % count]
                renderer.send_to(target, "item", PIECE)
                replies.append(renderer.invoke_to(target, "echo", number, PIECE))
        results, held, queued = await watched(bus, ring, replies)
        assert results == [number for number in range(each) for _ in ring]
        await until(lambda: set(heard.values()) == {each})
        # Each has sent far more than may wait for anybody; the rest was held by who sends it.
        assert 2 * each * len(PIECE) > 2 * MIB
        assert held < count * 2 * MIB
        assert queued < 2 * MIB
        stats = bus.broker.stats()
        assert (stats["overruns"], stats["slow_consumers"], stats["pending_replies"]) == (0, 0, 0)


async def test_main_and_a_renderer_whose_handlers_invoke_each_other_back_both_ways_and_nested(address: str) -> None:
    async with Bus(address, config=Config(limits=SMALL)) as bus:
        renderer = await bus.renderer()
        contents = bus.contents(renderer)

        async def in_main(event: Any, depth: int, _: bytes) -> int:
            return 1 + await event.sender.invoke("down", depth - 1, PIECE) if depth else 0

        async def in_renderer(event: Any, depth: int, _: bytes) -> int:
            return 1 + await event.sender.invoke("down", depth - 1, PIECE) if depth else 0

        bus.ipc_main.handle("down", in_main)
        renderer.handle("down", in_renderer)
        heard = []

        async def item(event: Any, _: bytes) -> None:
            await asyncio.sleep(0)
            heard.append(event.channel)

        bus.ipc_main.on("item", item)
        renderer.on("item", item)
        replies = []
        # As many as the credit of each direction allows, with all levels of each: else handlers would wait for others
        # that cannot begin before they end.
        count = Limits().running // 4
        for _ in range(count):
            replies.append(renderer.invoke("down", 3, PIECE))
            replies.append(contents.invoke("down", 3, PIECE))
            for _ in range(5):
                renderer.send("item", PIECE)
                contents.send("item", PIECE)
        results, held, queued = await watched(bus, [renderer], replies)
        assert results == [3] * len(replies)
        await until(lambda: len(heard) == 10 * count)
        assert held < 8 * MIB
        assert queued < 2 * MIB
        assert bus.broker.stats()["running"] == 0
