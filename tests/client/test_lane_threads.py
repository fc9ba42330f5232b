"""Brokers are known by the thread of their loop for as long as they run, and send_sync there is an error."""

import asyncio
import threading

import mainbus
import pytest
from mainbus.lane_threads import BROKER_THREADS
from mainbus_broker import Broker

from tests.support.bus import Bus, in_thread


async def test_a_broker_is_listed_with_its_thread_while_it_runs(address: str) -> None:
    before = dict(BROKER_THREADS)
    async with Bus(address) as bus:
        assert {**before, bus.hub.instance: threading.get_ident()} == BROKER_THREADS
    assert before == BROKER_THREADS


@pytest.mark.contract("3.5")
@pytest.mark.parametrize("scheme", ["unix", "memory"])
async def test_send_sync_on_the_thread_of_the_brokers_loop_is_an_error(address: str, scheme: str) -> None:
    where = address if scheme == "unix" else f"memory:{address.removeprefix('unix:')}"
    async with Bus(where) as bus:
        renderer = await bus.renderer()
        with pytest.raises(RuntimeError, match="would wait for itself"):
            renderer.send_sync("c")
        assert await renderer.invoke("bus:ping") is None


@pytest.mark.contract("3.5")
@pytest.mark.parametrize("scheme", ["unix", "memory"])
async def test_send_sync_on_another_thread_is_not(address: str, scheme: str) -> None:
    where = address if scheme == "unix" else f"memory:{address.removeprefix('unix:')}"
    async with Bus(where) as bus:

        def answer(event: mainbus.IpcRendererEvent, number: int) -> None:
            event.return_value = number + 1  # type: ignore[attr-defined]

        bus.ipc_main.on("c", answer)
        assert await in_thread(where, lambda renderer: renderer.send_sync("c", 1)) == 2


@pytest.mark.contract("3.5")
async def test_a_broker_on_another_thread_does_not_count(address: str) -> None:
    stop = threading.Event()
    ready = threading.Event()

    async def serve() -> None:
        async with Broker(address) as broker:

            def answer(event: object, value: object) -> None:
                event.return_value = value  # type: ignore[attr-defined]

            broker.ipc_main.on("c", answer)
            ready.set()
            await asyncio.to_thread(stop.wait)

    serving = asyncio.ensure_future(asyncio.to_thread(asyncio.run, serve()))
    await asyncio.to_thread(ready.wait)
    async with mainbus.connect(address) as renderer:
        assert renderer.send_sync("c", "here") == "here"
    stop.set()
    await serving
