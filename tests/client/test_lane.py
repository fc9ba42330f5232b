"""`send_sync` from a renderer's side: in its place, whatever still waits, on a lane that is there when it must be."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer
from mainbus_broker import Config
from mainbus_broker.config import Limits

from tests.support.bus import Bus, Program, in_thread, until, within
from tests.support.elsewhere import Elsewhere, Main, elsewhere, send_slow
from tests.support.renderers import broker_process

pytestmark = pytest.mark.contract("3.5")

BIG = "x" * 100_000
"""More than the kernel's buffers hold, a few times over."""


def send(renderer: IpcRenderer, value: object) -> None:
    renderer.send("c", value)


# In its place.


@pytest.mark.contract("2.19", "9.1")
async def test_what_sits_in_the_transport_comes_before_the_call_and_once(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), elsewhere(address) as renderer:

        def flood(renderer: IpcRenderer) -> tuple[object, int]:
            for number in range(100):
                renderer.send("c", number, BIG)
            answer = renderer.send_sync("sync", 100)
            assert renderer._session is not None
            # The loop stood still: what the kernel did not take is still where it was, and will come once more.
            return answer, len(renderer._session.outbox.in_flight()[0])

        answer, in_flight = await renderer.do(flood)
        assert (answer, in_flight > 0) == (100, True)
        assert main.got == [*range(101)]
        for number in range(101, 110):
            await renderer.do(partial(send, value=number))
        await renderer.wait(lambda renderer: renderer.drain())
        await renderer.do(lambda renderer: renderer.send_sync("sync", 110))
        assert main.got == [*range(111)]


@pytest.mark.contract("2.19")
async def test_the_rest_of_a_large_message_comes_before_the_call(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), elsewhere(address) as renderer:
        for turns in (0, 1, 3):

            async def send_all(renderer: IpcRenderer, turns: int = turns) -> object:
                renderer.send("c", 0, "y" * 5_000_000)
                for _ in range(turns):
                    # Some of it leaves before the loop stands still.
                    await asyncio.sleep(0)
                renderer.send("c", 1)
                return renderer.send_sync("sync", 2, "y" * 1_000_000)

            assert await renderer.wait(send_all) == 2
            assert main.got == [0, 1, 2]
            main.got.clear()


@pytest.mark.contract("2.19", "9.2")
async def test_what_a_pause_holds_comes_before_the_call(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=1, high=1000, low=500))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, elsewhere(address) as renderer:
        for number in range(20):
            await renderer.do(partial(send_slow, number=number))
        await until(lambda: renderer.session.main.paused and renderer.session.main.size)
        call = renderer.start(lambda renderer: renderer.send_sync("sync", 20))
        await until(lambda: bus.hub.renderers.ids[renderer.renderer.id].lane)
        main.gate.set()
        assert await within(asyncio.wrap_future(call)) == 20
        assert main.got == [*range(21)]
        assert bus.broker.stats()["overruns"] == 0


@pytest.mark.contract("2.19", "9.3")
async def test_invokes_without_credit_come_before_the_call_and_within_the_credit(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=2))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, elsewhere(address) as renderer:

        def invoke(renderer: IpcRenderer) -> tuple[object, list[Any]]:
            replies = [renderer.invoke("slow", number) for number in range(6)]
            return renderer.send_sync("sync", 6), replies

        calling = renderer.start(invoke)
        await until(lambda: (peer := bus.hub.renderers.ids[1]).lane is not None and peer.lane._held)
        await until(lambda: len(main.got) == 2)
        main.gate.set()
        answer, replies = await within(asyncio.wrap_future(calling))
        assert answer == 6
        assert main.got == [*range(7)]
        assert await renderer.wait(lambda _: asyncio.gather(*replies)) == [*range(6)]


async def test_a_call_over_memory_is_as_one_over_a_socket(address: str) -> None:
    main = Main()
    where = f"memory:{address.removeprefix('unix:')}"

    def call(renderer: IpcRenderer) -> object:
        for number in range(20):
            renderer.send("c", number, BIG)
        return renderer.send_sync("sync", 20)

    async with Bus(where, ipc_main=main.ipc):
        assert await in_thread(where, call) == 20
        assert main.got == [*range(21)]


# Without a broker.

WAITER = """
async def main():
    events = []
    ipc_main = IpcMain()

    @ipc_main.on("never")
    def never(event):
        events.append(event)
        say("called")

    @ipc_main.on("sync")
    def sync(event, value):
        event.return_value = value

    async with Broker(sys.argv[1], ipc_main=ipc_main):
        say("ready")
        await forever()

asyncio.run(main())
"""


@pytest.mark.contract("9.5")
async def test_a_broker_that_is_killed_ends_the_call(address: str) -> None:
    async with Program(WAITER, address) as program:
        assert await program.line() == "ready"
        async with elsewhere(address, reconnect=False) as renderer:
            call = renderer.start(lambda renderer: renderer.send_sync("never"))
            assert await program.line() == "called"
            program.kill()
            with pytest.raises(mainbus.ConnectionLost):
                await within(asyncio.wrap_future(call))


async def test_without_a_connection_there_is_no_call(address: str) -> None:
    async with elsewhere_after_the_broker(address, reconnect=False) as renderer:

        def call(renderer: IpcRenderer) -> None:
            with pytest.raises(mainbus.ConnectionLost):
                renderer.send_sync("sync", 1)

        await renderer.do(call)


@pytest.mark.contract("9.6")
async def test_a_reconnect_has_a_lane_of_its_own(address: str) -> None:
    async with elsewhere_after_the_broker(address) as renderer:

        def call(renderer: IpcRenderer) -> None:
            with pytest.raises(mainbus.ConnectionLost):
                renderer.send_sync("sync", 1)

        await renderer.do(call)
        async with Program(WAITER, address) as program:
            assert await program.line() == "ready"
            await renderer.wait(lambda renderer: until(lambda: renderer.is_connected))
            assert await renderer.do(lambda renderer: renderer.send_sync("sync", 2)) == 2


@asynccontextmanager
async def elsewhere_after_the_broker(address: str, **options: Any) -> AsyncIterator[Elsewhere]:
    """A renderer that has used its lane and whose broker was killed."""
    async with broker_process(address) as program, elsewhere(address, **options) as renderer:
        for _ in range(2):
            with pytest.raises(mainbus.ReplyNeverSent):
                await renderer.do(lambda renderer: renderer.send_sync("nobody listens"))
        program.kill()
        await program.end()
        await renderer.wait(lambda renderer: until(lambda: not renderer.is_connected))
        yield renderer
