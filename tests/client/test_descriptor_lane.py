"""One connection for descriptors for all who need it, when the first does."""

from __future__ import annotations

import asyncio
from functools import partial

from mainbus.address import parse
from mainbus.descriptor_lane import DescriptorLane
from mainbus.wire.messages import Welcome
from mainbus.wire.packets import Kind

from tests.support.bus import Bus, Calls, until

WELCOME = Welcome(id=1, session=b"s", instance=b"i", lane=b"l", descriptors=b"key")


async def test_all_who_wait_share_one(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        assert renderer._session is not None
        lane = renderer._session.descriptors
        assert lane is not None
        assert bus.peer(renderer).descriptors is None
        opened = Calls()
        for number in range(3):
            lane.when_open(partial(opened, number))
        assert not opened.calls
        await opened.wait(3)
        assert opened.calls == [(0,), (1,), (2,)]
        lane.when_open(lambda: opened(3))
        assert opened.calls[-1] == (3,)
        first = bus.peer(renderer).descriptors
        assert first is not None
        # A lost one is opened again when it is needed.
        first.abort()
        await until(lambda: lane._descriptors is None)
        lane.when_open(lambda: opened(4))
        await opened.wait(5)
        assert bus.peer(renderer).descriptors is not first


async def test_what_cannot_be_opened_is_not_tried_again(address: str) -> None:
    lane = DescriptorLane(WELCOME, parse(address))
    called = Calls()
    lane.when_open(lambda: called())
    await until(lambda: lane.is_idle)
    assert lane._has_failed
    lane.when_open(lambda: called())
    assert lane.is_idle
    assert not called.calls


async def test_a_closed_one_calls_nobody(address: str) -> None:
    lane = DescriptorLane(WELCOME, parse(address))
    called = Calls()
    lane.when_open(lambda: called())
    lane.close()
    await until(lambda: lane.is_idle)
    await asyncio.sleep(0)
    assert not called.calls


def test_what_nobody_takes_is_not_taken(address: str) -> None:
    lane = DescriptorLane(WELCOME, parse(address))
    taken = Calls()
    lane.takers[Kind.POOL] = lambda *record: taken.calls.append(record)
    assert not lane._take(Kind.PORT_DIRECT, 1, 2, 3, None)
    assert lane._take(Kind.POOL, 1, 2, 3, None)
    assert taken.calls == [(1, 2, 3, None)]
