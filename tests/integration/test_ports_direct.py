"""Direct ports between processes: what the broker is no longer needed for, and what stays as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer, MessageChannel, MessagePort

from tests.support.bus import Calls, Program, until, within
from tests.support.renderers import go_on, stop

SWITCHBOARD = """
from mainbus_broker import Config, Limits

async def main():
    ipc_main = IpcMain()
    async with Broker(sys.argv[1], ipc_main=ipc_main, config=Config(limits=Limits(direct_after=1))) as broker:

        @ipc_main.on("to")
        def pass_on(event, name):
            broker.web_contents.from_name(name).post_message("port", None, event.ports)

        ipc_main.handle("stats", lambda event: broker.stats())
        say("ready")
        await forever()

asyncio.run(main())
"""
"""A broker that passes ports on to whom they are meant for; its ports become direct at once."""

PARTNER = """
async def main():
    renderer = mainbus.connect(sys.argv[1], name=sys.argv[2])

    @renderer.on("port")
    def serve(event, message):
        port = event.ports[0]

        @port.on("message")
        def answer(event):
            if event.data == "pass on":
                ports.remove(port)
                renderer.post_message("to", "third", [port])
            elif event.data == "close":
                port.post_message("closing")
                port.close()
            else:
                port.post_message(event.data)

        port.on("close", lambda: say("closed"))
        ports.append(port)
        port.start()

    ports = []
    async with renderer:
        say("ready")
        await forever()

asyncio.run(main())
"""
"""A renderer that sends back whatever comes on its ports."""


class Parties:
    """A broker in a process of its own, a renderer here, and programs."""

    def __init__(self, address: str, broker: Program, renderer: IpcRenderer) -> None:
        self.address = address
        self.broker = broker
        self.renderer = renderer

    @asynccontextmanager
    async def partner(self, name: str) -> AsyncIterator[Program]:
        async with Program(PARTNER, self.address, name) as program:
            assert await program.line() == "ready"
            yield program

    def port_to(self, name: str) -> MessagePort:
        channel = MessageChannel()
        self.renderer.post_message("to", name, [channel.port2])
        return channel.port1

    async def stats(self) -> dict[str, int]:
        found: dict[str, int] = await within(self.renderer.invoke("stats"))
        return found

    async def until_direct(self, count: int = 1) -> None:
        await until(lambda: self.renderer.stats()["direct_ports"] == count)
        assert (await self.stats())["direct_ports"] == count


@asynccontextmanager
async def parties(address: str) -> AsyncIterator[Parties]:
    async with Program(SWITCHBOARD, address) as broker:
        assert await broker.line() == "ready"
        async with mainbus.connect(address, name="here") as renderer:
            yield Parties(address, broker, renderer)


class Echo:
    """What comes back on a port."""

    def __init__(self, port: MessagePort) -> None:
        self.port = port
        self.got: list[Any] = []
        self.closed = Calls()
        port.on("message", lambda event: self.got.append(event.data))
        port.on("close", self.closed)
        port.start()

    async def ask(self, value: object) -> None:
        """Post a value and wait for its echo."""
        count = len(self.got)
        self.port.post_message(value)
        await until(lambda: len(self.got) > count)
        assert self.got[-1] == value


@pytest.mark.contract("7.6", "7.3")
async def test_a_stopped_broker_does_not_stop_a_direct_port(address: str) -> None:
    async with parties(address) as here, here.partner("there") as there:
        echo, other = Echo(here.port_to("there")), Echo(here.port_to("there"))
        await echo.ask("hello")
        await other.ask("hello")
        await here.until_direct(2)
        await stop(here.broker)
        try:
            echo.got.clear()
            for number in range(10_000):
                echo.port.post_message({"number": number})
                if number % 100 == 0:
                    await within(echo.port.drain())
            await until(lambda: len(echo.got) == 10_000)
            assert echo.got == [{"number": number} for number in range(10_000)]
            await echo.ask(bytes(range(256)) * 4096 * 3)
            # A close needs no broker either, and comes behind what was posted.
            echo.got.clear()
            for number in range(100):
                echo.port.post_message(number)
            echo.port.post_message("close")
            await echo.closed.wait()
            assert echo.got == [*range(100), "closing"]
            assert await there.line() == "closed"
            other.port.post_message("last")
            other.port.close()
            assert await there.line() == "closed"
        finally:
            go_on(here.broker)
        assert (await here.stats())["direct_ports"] == 0


@pytest.mark.contract("7.6", "7.3", "9.5")
async def test_the_partner_of_a_killed_renderer_gets_what_had_come_and_the_close(address: str) -> None:
    async with parties(address) as here:
        async with here.partner("there") as there:
            echo = Echo(here.port_to("there"))
            await echo.ask("hello")
            await here.until_direct()
            for number in range(20):
                await echo.ask(number)
            there.kill()
            # Into a socket that nobody reads any more.
            for number in range(20):
                echo.port.post_message(number)
            await echo.closed.wait()
            assert echo.got == ["hello", *range(20)]
        assert (await here.stats())["direct_ports"] == 0
        assert here.renderer.stats()["direct_ports"] == 0


@pytest.mark.contract("7.6", "7.2", "2.19")
async def test_a_direct_port_moves_in_the_midst_of_traffic(address: str) -> None:
    async with parties(address) as here, here.partner("there"), here.partner("third"):
        echo = Echo(here.port_to("there"))
        await echo.ask("hello")
        for round in range(1, 5):
            await here.until_direct()
            echo.got.clear()
            for number in range(200):
                echo.port.post_message(number)
            # From there to the third, who passes it to itself.
            echo.port.post_message("pass on")
            for number in range(200, 400):
                echo.port.post_message(number)
            await until(lambda: len(echo.got) == 400)
            assert echo.got == [*range(400)], round
            # Direct again, with its new owner.
            await echo.ask("again")


@pytest.mark.contract("7.6", "9.6")
async def test_direct_ports_close_with_the_connection_to_the_broker(address: str) -> None:
    async with parties(address) as here, here.partner("there") as there:
        echo = Echo(here.port_to("there"))
        await echo.ask("hello")
        await here.until_direct()
        here.broker.kill()
        await echo.closed.wait()
        assert await there.line() == "closed"
