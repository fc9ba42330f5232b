"""Guests and hosts, as their programs see them."""

import asyncio
from typing import Any

import mainbus
import pytest
from mainbus import (
    ConnectRefused,
    Guest,
    IpcMessageEvent,
    IpcRenderer,
    LimitExceeded,
    LocalProtocolError,
    ObjectDestroyedError,
)
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, until, within


async def pair(bus: Bus, name: str | None = None) -> tuple[IpcRenderer, Guest, IpcRenderer]:
    """Return a host, its guest as it sees it, and the guest itself."""
    host = await bus.renderer("host")
    guest = await host.create_guest(name)
    renderer = await bus.renderer(token=guest.token)
    await within(guest.ready())
    return host, guest, renderer


@pytest.mark.contract("7.8")
async def test_what_a_guest_sends_to_its_host_is_an_ipc_message(address: str) -> None:
    async with Bus(address) as bus:
        _host, guest, renderer = await pair(bus, "viewer")
        assert (guest.id, guest.name, guest.is_destroyed()) == (renderer.id, "viewer", False)
        assert renderer.name == "viewer"
        got = Calls()
        registration = guest.on("ipc-message", got)
        renderer.send_to_host("hello", 1, [2])
        (event,) = await got.wait()
        assert isinstance(event, IpcMessageEvent)
        assert (event.channel, event.args, event.sender, event.sender_id) == ("hello", [1, [2]], guest, renderer.id)
        assert "guest" in event.sender_label
        registration.cancel()
        once = Calls()
        guest.once("ipc-message", once)
        renderer.send_to_host("hello", 2)
        renderer.send_to_host("hello", 3)
        await bus.served(renderer)
        await once.wait()
        assert [call[0].args for call in once.calls] == [[2]]
        assert len(got.calls) == 1


@pytest.mark.contract("7.8", "3.2", "3.11")
async def test_to_its_guest_the_host_counts_as_main(address: str) -> None:
    async with Bus(address) as bus:
        host, guest, renderer = await pair(bus)
        main, renderers, any_ = Calls(), Calls(), Calls()
        renderer.on("x", main)
        renderer.on("x", renderers, senders="renderers")
        renderer.on("x", any_, senders="any")
        guest.send("x", 1)
        event, value = await main.wait()
        await any_.wait()
        assert value == 1
        assert (event.sender, event.sender_id, event.sender_name) == (renderer, host.id, "host")
        assert event.from_host
        assert not renderers.calls
        # The reply goes where the message came from.
        got = Calls()
        guest.on("ipc-message", got)
        event.reply("thanks", 2)
        (back,) = await got.wait()
        assert (back.channel, back.args) == ("thanks", [2])
        back.reply("x", 3)
        await main.wait(2)
        assert main.calls[1][1] == 3


@pytest.mark.contract("7.8", "3.2")
async def test_nobody_else_passes_for_the_host(address: str) -> None:
    async with Bus(address) as bus:
        host, guest, renderer = await pair(bus, "viewer")
        got, undelivered = Calls(), Calls()
        renderer.on("x", got)
        host.send_to("viewer", "x", "without the flag")
        stranger = await bus.renderer()
        stranger.events.on("undeliverable", undelivered)
        stranger_guest = await stranger.create_guest()
        stranger_guest._state.id = renderer.id
        stranger_guest.send("x", "from a stranger")
        assert (await undelivered.wait())[0] == renderer.id
        guest.send("x", "from the host")
        await got.wait()
        assert got.args == [("from the host",)]


@pytest.mark.contract("7.8", "2.12")
async def test_main_sees_the_host(address: str) -> None:
    async with Bus(address) as bus:
        host, guest, renderer = await pair(bus)
        contents = bus.contents(renderer)
        assert contents.host_web_contents is bus.contents(host)
        assert bus.contents(host).host_web_contents is None
        guest.close()
        await bus.served(host)
        assert contents.host_web_contents is None


@pytest.mark.contract("7.8")
async def test_a_token_used_twice_is_refused(address: str) -> None:
    async with Bus(address) as bus:
        _host, guest, renderer = await pair(bus)
        with pytest.raises(ConnectRefused, match="unknown or was used before") as caught:
            _ = await mainbus.connect(address, token=guest.token)
        assert guest.token not in str(caught.value)
        assert guest.id == renderer.id


@pytest.mark.contract("7.8")
async def test_sending_before_the_guest_is_there_names_ready(address: str) -> None:
    async with Bus(address) as bus:
        host = await bus.renderer()
        guest = await host.create_guest()
        assert (guest.id, guest.name) == (None, None)
        with pytest.raises(LocalProtocolError, match=r"await guest\.ready\(\)"):
            guest.send("x")
        ready = asyncio.ensure_future(guest.ready())
        renderer = await bus.renderer("chosen", token=guest.token)
        await within(ready)
        assert (guest.id, guest.name) == (renderer.id, "chosen")


@pytest.mark.contract("7.8")
async def test_a_renderer_without_a_host_is_told_so(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        with pytest.raises(LocalProtocolError, match="this renderer has no host"):
            renderer.send_to_host("x")


@pytest.mark.contract("7.8")
async def test_a_guest_that_leaves_is_destroyed(address: str) -> None:
    async with Bus(address) as bus:
        host, guest, renderer = await pair(bus)
        seen: list[Any] = []
        guest.on("ipc-message", lambda event: seen.append(event.channel))
        guest.on("destroyed", lambda: seen.append("destroyed"))
        renderer.send_to_host("last")
        await renderer.aclose()
        await until(lambda: "destroyed" in seen)
        assert seen == ["last", "destroyed"]
        assert guest.is_destroyed()
        assert guest.id is None
        guest.close()
        with pytest.raises(ObjectDestroyedError):
            guest.send("x")
        with pytest.raises(ObjectDestroyedError):
            await guest.ready()
        assert host._session is not None
        assert not host._session.hosting._guests


@pytest.mark.contract("7.8")
async def test_messages_wait_their_turn_and_destroyed_comes_behind_them(address: str) -> None:
    async with Bus(address) as bus:
        _host, guest, renderer = await pair(bus)
        gate, seen = asyncio.Event(), []

        async def slow(event: IpcMessageEvent) -> None:
            await gate.wait()
            seen.append(event.args[0])

        guest.on("ipc-message", slow)
        guest.on("destroyed", lambda: seen.append("destroyed"))
        # One more than may run at a time: the last one waits.
        for number in range(257):
            renderer.send_to_host("x", number)
        await renderer.aclose()
        gate.set()
        await until(lambda: len(seen) == 258)
        assert "destroyed" in seen


@pytest.mark.contract("7.8")
async def test_a_host_that_leaves_leaves_its_guests_without_one(address: str) -> None:
    async with Bus(address) as bus:
        host, _guest, renderer = await pair(bus)
        await host.aclose()
        assert renderer._session is not None
        await until(lambda: renderer._session is not None and renderer._session.hosting.link is None)
        with pytest.raises(ObjectDestroyedError, match="host of this renderer has left"):
            renderer.send_to_host("x")
        assert bus.contents(renderer).host_web_contents is None
        await bus.served(renderer)


@pytest.mark.contract("7.8")
async def test_closing_takes_the_token_back(address: str) -> None:
    async with Bus(address) as bus:
        host = await bus.renderer()
        guest = await host.create_guest()
        waiting = asyncio.ensure_future(guest.ready())
        await asyncio.sleep(0)
        guest.close()
        guest.close()
        with pytest.raises(ObjectDestroyedError):
            await within(waiting)
        await bus.served(host)
        with pytest.raises(ConnectRefused):
            _ = await mainbus.connect(address, token=guest.token)


@pytest.mark.contract("7.8", "3.2")
async def test_whom_the_host_lets_go_passes_for_nobody(address: str) -> None:
    async with Bus(address) as bus:
        host, guest, renderer = await pair(bus)
        got, undelivered = Calls(), Calls()
        host.on("x", got, senders="any")
        guest.on("ipc-message", got)
        renderer.events.on("undeliverable", undelivered)
        # It leaves before the broker knows that the host has let go.
        renderer.send_to_host("x", 1)
        guest.close()
        await bus.served(host)
        await bus.served(renderer)
        await bus.reached(host)
        assert not got.calls
        with pytest.raises(ObjectDestroyedError):
            renderer.send_to_host("x", 2)


@pytest.mark.contract("7.8")
async def test_more_guests_than_the_broker_allows_are_a_named_error(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(guests=2))) as bus:
        host, _guest, _renderer = await pair(bus)
        second = await host.create_guest()
        with pytest.raises(LimitExceeded, match="number of guests exceeds the limit of 2"):
            await host.create_guest()
        second.close()
        await host.create_guest()


async def test_an_unknown_event_is_a_value_error(address: str) -> None:
    async with Bus(address) as bus:
        guest = await (await bus.renderer()).create_guest()
        with pytest.raises(ValueError, match="Unknown event 'x'"):
            guest.on("x", print)
        called = Calls()
        guest.on("ipc-message", called)
        guest.off("ipc-message", called)
        guest.on("ready", called)
        guest.off("ready", called)
