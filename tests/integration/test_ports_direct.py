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
from mainbus_broker import Config, Limits, Match, Role

async def main():
    ipc_main = IpcMain()
    tied = Role(match=Match(token="tied"), names=["*"], send=["*"], invoke=["*"], handle=["*"], listen=["*"])
    limits = Limits(direct_after=1, direct=int(sys.argv[2]))
    config = Config(limits=limits, direct_ports=sys.argv[3] == "on", roles={"tied": tied})
    async with Broker(sys.argv[1], ipc_main=ipc_main, config=config) as broker:

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
    renderer = mainbus.connect(sys.argv[1], name=sys.argv[2], token=sys.argv[3] or None)

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
    async def partner(self, name: str, token: str = "") -> AsyncIterator[Program]:
        async with Program(PARTNER, self.address, name, token) as program:
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
async def parties(
    address: str, *, limit: int = 256, allowed: str = "on", token: str | None = None
) -> AsyncIterator[Parties]:
    async with Program(SWITCHBOARD, address, str(limit), allowed) as broker:
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


@pytest.mark.contract("7.6")
async def test_a_stopped_broker_does_not_stop_a_direct_port(address: str) -> None:
    async with parties(address) as here, here.partner("there"):
        echo = Echo(here.port_to("there"))
        await echo.ask("hello")
        await here.until_direct()
        await stop(here.broker)
        try:
            echo.got.clear()
            for number in range(10_000):
                echo.port.post_message({"number": number})
                if number % 100 == 0:
                    await within(echo.port.drain())
            await until(lambda: len(echo.got) == 10_000)
            assert echo.got == [{"number": number} for number in range(10_000)]
            large = bytes(range(256)) * 4096 * 3
            await echo.ask(large)
        finally:
            go_on(here.broker)


@pytest.mark.contract("7.6", "7.3")
async def test_a_close_needs_no_broker_either(address: str) -> None:
    async with parties(address) as here, here.partner("there") as there:
        echo = Echo(here.port_to("there"))
        other = Echo(here.port_to("there"))
        await echo.ask("hello")
        await other.ask("hello")
        await here.until_direct(2)
        await stop(here.broker)
        try:
            for number in range(100):
                echo.port.post_message(number)
            echo.port.post_message("close")
            await echo.closed.wait()
            assert echo.got == ["hello", *range(100), "closing"]
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


@pytest.mark.contract("7.6", "7.2")
async def test_a_message_with_a_port_goes_by_the_broker_in_its_place(address: str) -> None:
    async with parties(address) as here, mainbus.connect(address, name="near") as near:
        arrived = Calls()
        near.on("port", lambda event, _: arrived(event.ports[0]))
        port = here.port_to("near")
        (other,) = await arrived.wait()
        got: list[Any] = []
        other.on("message", lambda event: got.append((event.data, len(event.ports))))
        other.start()
        port.post_message("first")
        await here.until_direct()
        for number in range(3):
            port.post_message("plain")
            port.post_message(number, [MessageChannel().port2])
        port.post_message("last")
        await until(lambda: len(got) == 8)
        assert got == [("first", 0), ("plain", 0), (0, 1), ("plain", 0), (1, 1), ("plain", 0), (2, 1), ("last", 0)]
        port.post_message("more")
        await here.until_direct()
        await until(lambda: got[-1] == ("more", 0))


@pytest.mark.contract("7.6", "8.4")
async def test_a_role_without_direct_keeps_its_ports_with_the_broker(address: str) -> None:
    async with parties(address) as here, here.partner("there", "tied"), here.partner("free"):
        echo, free = Echo(here.port_to("there")), Echo(here.port_to("free"))
        for number in range(10):
            await echo.ask(number)
        await free.ask("hello")
        await here.until_direct(1)
        await stop(here.broker)
        try:
            await free.ask("it goes on")
            echo.port.post_message("it does not")
        finally:
            go_on(here.broker)
        await until(lambda: echo.got[-1] == "it does not")


@pytest.mark.contract("7.6", "8.6")
async def test_no_more_ports_are_direct_than_may_be(address: str) -> None:
    async with parties(address, limit=2) as here, here.partner("there"):
        echoes = [Echo(here.port_to("there")) for _ in range(5)]
        for _ in range(3):
            for echo in echoes:
                await echo.ask("hello")
        await here.until_direct(2)
        for echo in echoes:
            echo.port.close()
            await echo.closed.wait()
        assert (await here.stats())["direct_ports"] == 0


@pytest.mark.contract("7.6")
async def test_all_ports_are_relayed_where_that_is_switched_off(address: str) -> None:
    async with parties(address, allowed="off") as here, here.partner("there"):
        echo = Echo(here.port_to("there"))
        for number in range(10):
            await echo.ask(number)
        assert (await here.stats())["direct_ports"] == 0
        assert here.renderer.stats()["direct_ports"] == 0


@pytest.mark.contract("7.6", "9.6")
async def test_direct_ports_close_with_the_connection_to_the_broker(address: str) -> None:
    async with parties(address) as here, here.partner("there") as there:
        echo = Echo(here.port_to("there"))
        await echo.ask("hello")
        await here.until_direct()
        here.broker.kill()
        await echo.closed.wait()
        assert await there.line() == "closed"


@pytest.mark.contract("7.6", "3.10")
async def test_what_was_posted_arrives_before_its_renderer_leaves(address: str) -> None:
    async with parties(address) as here, mainbus.connect(address, name="near") as near:
        arrived = Calls()
        near.on("port", lambda event, _: arrived(event.ports[0]))
        port = here.port_to("near")
        (other,) = await arrived.wait()
        got, closed = Calls(), Calls()
        other.on("message", lambda event: got(event.data))
        other.on("close", closed)
        other.start()
        port.post_message("first")
        await here.until_direct()
        await got.wait()
        # More than may be under way at once.
        for number in range(1000):
            port.post_message(number)
        await here.renderer.aclose()
        await closed.wait()
        assert got.calls == [("first",), *((number,) for number in range(1000))]


@pytest.mark.contract("7.6", "9.2")
async def test_a_direct_port_that_is_not_taken_holds_up_its_sender(address: str) -> None:
    async with parties(address) as here, mainbus.connect(address, name="near") as near:
        arrived = Calls()
        near.on("port", lambda event, _: arrived(event.ports[0]))
        port = here.port_to("near")
        (other,) = await arrived.wait()
        got = other.__aiter__()
        port.post_message("first")
        assert (await within(anext(got))).data == "first"
        await here.until_direct()
        body = bytes(16 * 1024)
        for _ in range(1000):
            port.post_message(body)
        # All that may be under way, and no more, is in the other renderer.
        await until(lambda: other.end is not None and other.end.size >= 256 * 1024)
        await here.stats()
        assert other.end is not None
        assert other.end.size < 256 * 1024 + 32 * 1024
        for _ in range(1000):
            assert (await within(anext(got))).data == body
        await within(port.drain())
