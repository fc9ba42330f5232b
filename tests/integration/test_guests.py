"""Guests and hosts in processes of their own: killed, cut off, and back again."""

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

import mainbus
import mainbus.blocking
import pytest
from mainbus import Guest, IpcRenderer

from tests.support.bus import Bus, Calls, Program, until, within
from tests.support.renderers import Told, broker_process

GUEST = """
async def main():
    async with mainbus.connect(sys.argv[1]) as renderer:
        renderer.on("ask", lambda event, value: renderer.send_to_host("answer", value, event.sender_id))
        renderer.on("ask", lambda event, value: say("not main"), senders="renderers")
        renderer.events.on("disconnected", lambda reason: say("disconnected"))
        renderer.events.on("reconnected", lambda: say("reconnected"))
        say(renderer.name, renderer.id)
        await forever()

asyncio.run(main())
"""
"""A guest, whose token is in its environment, that answers its host."""

HOST = """
async def main():
    async with mainbus.connect(sys.argv[1], name="host") as renderer:
        guest = await renderer.create_guest("viewer")
        guest.on("ipc-message", lambda event: say(event.channel, *event.args))
        guest.on("destroyed", lambda: say("destroyed"))
        say(guest.token)
        await guest.ready()
        guest.send("ask", 1)
        await forever()

asyncio.run(main())
"""
"""A host that says its guest's token, and what its guest sends."""


@asynccontextmanager
async def guest_program(address: str, token: str) -> AsyncIterator[Program]:
    """Run `GUEST` with a token in its environment."""
    async with Program(GUEST, address, env={**os.environ, "MAINBUS_TOKEN": token}) as program:
        yield program


async def cut(renderer: IpcRenderer) -> None:
    """Lose a connection, and wait until it is back."""
    told = Told(renderer)
    assert renderer._session is not None
    assert renderer._session.link is not None
    renderer._session.link.abort()
    await told.wait("reconnected")


async def both_ways(guest: Guest, renderer: IpcRenderer) -> None:
    """See that both can send to each other."""
    await within(guest.ready())
    there, back = Calls(), Calls()
    with renderer.on("there", there), guest.on("ipc-message", back):
        guest.send("there", 1)
        event = (await there.wait())[0]
        assert event.from_host
        renderer.send_to_host("back", 2)
        (event,) = await back.wait()
        assert (event.channel, event.args, event.sender_id) == ("back", [2], renderer.id)


@pytest.mark.contract("7.8", "9.5", "3.2")
async def test_a_guest_that_is_killed_is_destroyed_at_its_host(address: str) -> None:
    async with Bus(address) as bus, Program(HOST, address) as host:
        token = await host.line()
        async with guest_program(address, token) as guest:
            name, guest_id = (await guest.line()).split()
            assert name == "viewer"
            contents = bus.broker.web_contents.from_name("viewer")
            host_contents = bus.broker.web_contents.from_name("host")
            assert contents is not None
            assert host_contents is not None
            assert contents.id == int(guest_id)
            assert contents.host_web_contents is host_contents
            assert await host.line() == f"answer 1 {host_contents.id}"
            guest.kill()
            assert await host.line() == "destroyed"
        assert contents.is_destroyed()
        assert contents.host_web_contents is None
        with pytest.raises(mainbus.ConnectRefused):
            _ = await mainbus.connect(address, token=token)


@pytest.mark.contract("7.8", "9.5")
async def test_a_host_that_is_killed_leaves_its_guest_connected(address: str) -> None:
    async with Bus(address) as bus, Program(HOST, address) as host:
        token = await host.line()
        async with guest_program(address, token) as guest:
            await guest.line()
            contents = bus.broker.web_contents.from_name("viewer")
            assert contents is not None
            assert (await host.line()).startswith("answer")
            host.kill()
            await until(lambda: contents.host_web_contents is None)
            assert not contents.is_destroyed()
            # A host that nobody will see again is forgotten with its guest.
            assert len(bus.hub.hosting) == 1
            guest.kill()
            await until(lambda: not bus.hub.hosting)


@pytest.mark.contract("9.6", "7.8")
async def test_guest_status_comes_back_whichever_end_was_cut_off(address: str) -> None:
    async with Bus(address) as bus:
        host = await bus.renderer("host")
        guest = await host.create_guest("viewer")
        renderer = await bus.renderer(token=guest.token)
        await both_ways(guest, renderer)
        destroyed, ready = Calls(), Calls()
        guest.on("destroyed", destroyed)
        guest.on("ready", ready)
        former = guest.id
        await cut(renderer)
        await ready.wait()
        assert len(destroyed.calls) == 1
        assert guest.id == renderer.id != former
        assert bus.contents(renderer).host_web_contents is bus.contents(host)
        await both_ways(guest, renderer)

        await cut(host)
        await ready.wait(2)
        await bus.served(renderer)
        assert len(destroyed.calls) == 1
        assert bus.contents(renderer).host_web_contents is bus.contents(host)
        await both_ways(guest, renderer)

        await asyncio.gather(cut(renderer), cut(host))
        await until(lambda: guest.id == renderer.id)
        await until(lambda: bus.contents(renderer).host_web_contents is bus.contents(host))
        await both_ways(guest, renderer)


@pytest.mark.contract("9.6", "7.8")
async def test_a_token_that_was_not_used_survives_its_hosts_reconnect(address: str) -> None:
    async with Bus(address) as bus:
        host = await bus.renderer("host")
        guest = await host.create_guest("viewer")
        await cut(host)
        await bus.served(host)
        renderer = await bus.renderer(token=guest.token)
        assert renderer.name == "viewer"
        await both_ways(guest, renderer)
        with pytest.raises(mainbus.ConnectRefused):
            _ = await mainbus.connect(address, token=guest.token)


@pytest.mark.contract("9.6", "7.8")
async def test_guest_status_comes_back_after_the_broker_was_killed(address: str) -> None:
    async with broker_process(address) as first:
        host = await mainbus.connect(address, name="host")
        told, answers = Told(host), Calls()
        guest, unused = await host.create_guest("viewer"), await host.create_guest()
        guest.on("ipc-message", answers)
        async with guest_program(address, guest.token) as program:
            assert (await program.line()).startswith("viewer")
            await within(guest.ready())
            first.kill()
            assert await program.line() == "disconnected"
            await told.wait("disconnected")
            async with broker_process(address):
                assert await program.line() == "reconnected"
                await told.wait("reconnected")
                await within(guest.ready())
                guest.send("ask", 7)
                (event,) = await answers.wait()
                assert (event.channel, event.args) == ("answer", [7, host.id])
                with pytest.raises(mainbus.ConnectRefused):
                    _ = await mainbus.connect(address, token=guest.token)
                # That one could connect only now.
                late = await mainbus.connect(address, token=unused.token)
                await both_ways(unused, late)
                await late.aclose()
                await host.aclose()


@pytest.mark.contract("9.6", "7.8")
async def test_a_host_that_is_away_is_undeliverable_and_not_gone(address: str) -> None:
    async with Bus(address) as bus:
        host = await mainbus.connect(address, reconnect=False)
        guest = await host.create_guest()
        renderer = await bus.renderer(token=guest.token)
        undelivered = Calls()
        renderer.events.on("undeliverable", undelivered)
        host_id = host.id
        assert host._session is not None
        assert host._session.link is not None
        host._session.link.abort()
        await until(lambda: bus.contents(renderer).host_web_contents is None)
        renderer.send_to_host("x", 1)
        assert await undelivered.wait() == (host_id, "x", "no such renderer")
        await host.aclose()


@pytest.mark.contract("7.8", "2.19")
async def test_order_and_flow_are_those_of_the_pair(address: str) -> None:
    async with Bus(address) as bus:
        host = await bus.renderer("host")
        guest = await host.create_guest()
        renderer = await bus.renderer(token=guest.token)
        await within(guest.ready())
        got: list[int] = []
        renderer.on("x", lambda event, number, *_: got.append(number), senders="any")
        filler = b"z" * 100_000
        for number in range(60):
            if number % 2:
                guest.send("x", number, filler)
            else:
                host.send_to(renderer.id, "x", number, filler * (5 if number % 10 == 0 else 1))
        await within(host.drain(renderer.id))
        await until(lambda: len(got) == 60)
        assert got == list(range(60))


@pytest.mark.contract("7.8")
async def test_neither_token_nor_secret_is_logged(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Bus(address) as bus:
        host = await bus.renderer("host")
        guest = await host.create_guest("viewer")
        renderer = await bus.renderer(token=guest.token)
        await cut(renderer)
        await both_ways(guest, renderer)
        assert guest.token not in caplog.text
        assert guest._state.link is not None
        assert guest._state.link.hex() not in caplog.text
        assert repr(guest._state.link) not in caplog.text


@pytest.mark.contract("9.6", "7.7", "7.8", "3.14")
async def test_frames_and_guests_of_blocking_renderers_come_back(address: str) -> None:
    async with Bus(address) as bus:
        bus.ipc_main.handle("who", lambda event: [event.sender_frame.name, event.sender.name])

        def abort(renderer: mainbus.blocking.BlockingRenderer) -> None:
            assert renderer._session is not None
            assert renderer._session.link is not None
            renderer._session.link.abort()

        def use() -> None:
            host = mainbus.blocking.connect(address, name="host")
            host_back, guest_back, got = threading.Event(), threading.Event(), threading.Event()
            with host:
                guest, frame = host.create_guest("viewer"), host.create_frame("f")
                renderer = mainbus.blocking.connect(address, token=guest.token)
                with renderer:
                    guest.ready(10)
                    guest.on("ipc-message", lambda event: got.set())
                    host.events.on("reconnected", host_back.set)
                    renderer.events.on("reconnected", guest_back.set)
                    for one, back in ((host, host_back), (renderer, guest_back)):
                        one._loop.post(partial(abort, one))
                        assert back.wait(10)
                    # Answered behind what both have said at their return.
                    assert frame.invoke("who") == ["f", "host"]
                    assert renderer.invoke("who") == ["viewer", "viewer"]
                    renderer.on("x", lambda event: event.reply("y"))
                    guest.ready(10)
                    assert guest.id == renderer.id
                    guest.send("x")
                    assert got.wait(10)

        await within(asyncio.to_thread(use))


@pytest.mark.contract("3.13", "7.7", "7.8")
async def test_another_thread_is_told_so(address: str) -> None:
    async with Bus(address) as bus:
        host = await bus.renderer()
        guest, frame = await host.create_guest(), await host.create_frame("f")
        calls: list[Callable[[], object]] = [
            lambda: frame.send("x"),
            lambda: frame.on("x", print),
            lambda: guest.send("x"),
            lambda: guest.on("ready", print),
            lambda: guest.close(),
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match=r"call_soon_threadsafe"):
                await asyncio.to_thread(call)
