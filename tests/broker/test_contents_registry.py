"""The registry of all renderers: finding them, and sending to all of them."""

import pytest
from mainbus_broker import Config, Limits, WebContents

from tests.support.bus import Bus, Calls, stop_reading, until


@pytest.mark.contract("2.14")
async def test_the_registry_finds_by_id_and_name(address: str) -> None:
    async with Bus(address) as bus:
        registry = bus.broker.web_contents
        assert registry.get_all_web_contents() == []
        renderers = [await bus.renderer("b"), await bus.renderer(), await bus.renderer("a")]
        everyone = [bus.contents(renderer) for renderer in renderers]
        assert registry.get_all_web_contents() == everyone
        assert [registry.from_id(contents.id) for contents in everyone] == everyone
        assert [registry.from_name(name) for name in ("b", "a", "c", "")] == [everyone[0], everyone[2], None, None]
        assert registry.from_id(99) is None
        registry.get_all_web_contents().clear()
        await renderers[0].aclose()
        await until(everyone[0].is_destroyed)
        assert registry.get_all_web_contents() == everyone[1:]
        assert registry.from_name("b") is None
        assert registry.from_id(everyone[0].id) is None


@pytest.mark.contract("2.14")
@pytest.mark.parametrize("size", [1, 300_000])
async def test_broadcast_reaches_all_but_those_left_out(size: int, address: str) -> None:
    async with Bus(address) as bus:
        renderers = [await bus.renderer(name) for name in (None, "by name", "by id", "by contents", "too")]
        heard: dict[int, Calls] = {}
        for renderer in renderers:
            heard[renderer.id] = Calls()
            renderer.on("x", heard[renderer.id])
        exclude: list[WebContents | int | str] = ["by name", renderers[2].id, bus.contents(renderers[3])]
        bus.broker.web_contents.broadcast("x", "x" * size, 7, exclude=exclude)
        for renderer in renderers:
            await bus.reached(renderer)
        assert [len(calls.calls) for calls in heard.values()] == [1, 0, 0, 0, 1]
        assert heard[renderers[0].id].args == [("x" * size, 7)]
        bus.broker.web_contents.broadcast("x", exclude=iter(exclude))
        bus.broker.web_contents.broadcast("x")
        for renderer in renderers:
            await bus.reached(renderer)
        assert [len(calls.calls) for calls in heard.values()] == [3, 1, 1, 1, 3]


@pytest.mark.contract("2.14", "9.3")
async def test_a_broadcast_does_not_wait_for_who_is_full_but_closes_it(address: str) -> None:
    limits = Limits(low=1000, high=2000, hard=50_000)
    async with Bus(address, config=Config(limits=limits)) as bus:
        slow, quick = await bus.renderer(reconnect=False), await bus.renderer()
        contents, told, heard = bus.contents(slow), Calls(), Calls()
        bus.broker.on("slow-consumer", told)
        quick.on("x", heard)
        stop_reading(slow)
        while not contents.is_destroyed():
            bus.broker.web_contents.broadcast("x", "x" * 20_000)
            await bus.reached(quick)
        assert told.calls == [(contents,)]
        assert bus.broker.stats()["slow_consumers"] == 1
        assert len(heard.calls) > 3
