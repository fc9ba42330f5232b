"""How the ports of one connection get their sockets, and that none is left open on any way that this may end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer, MessageChannel, MessagePort, open_files
from mainbus.blocking import connect as connect_blocking
from mainbus.wire import clone
from mainbus.wire.credit import DIRECT_OVERHEAD, WINDOW
from mainbus.wire.packets import Kind, build
from mainbus_broker import Config, Match, Role, WebContents
from mainbus_broker.config import Limits
from mainbus_broker.port_end import PortEnd

from tests.support.bus import Bus, Calls, until, within
from tests.support.direct import AT_ONCE, FEATURES, Descriptors
from tests.support.direct import Side as Liar
from tests.support.port_records import heard
from tests.support.raw import PORT_CLOSE, POST, Packet, args, raw

pytestmark = pytest.mark.contract("7.6")


class Two:
    """Two renderers, a port of each, and what has come by those."""

    def __init__(self, bus: Bus, a: IpcRenderer, b: IpcRenderer) -> None:
        self.bus = bus
        self.a = a
        self.b = b
        self.arrived = Calls()
        b.on("port", lambda event, _: self.arrived(event.ports[0]))

    async def channel(self) -> tuple[MessagePort, MessagePort]:
        """Return the two ports of a channel."""
        channel = MessageChannel()
        count = len(self.arrived.calls)
        self.a.post_message("to", None, [channel.port2])
        (there,) = await self.arrived.wait(count + 1)
        return channel.port1, there

    async def talk(self, here: MessagePort, there: MessagePort) -> list[Any]:
        """Post one message; returns the list that this and all later ones come to."""
        got: list[Any] = []
        there.on("message", lambda event: got.append(event.data))
        there.start()
        here.post_message("first")
        await until(lambda: got)
        return got

    async def until_direct(self, count: int) -> None:
        await until(lambda: [each.stats()["direct_ports"] for each in (self.a, self.b)] == [count, count])


@asynccontextmanager
async def two(address: str, config: Config = AT_ONCE) -> AsyncIterator[Two]:
    async with Bus(address, config=config) as bus:
        a, b = await bus.renderer("a"), await bus.renderer("b")
        bus.ipc_main.on("to", lambda event, _: bus.contents(b).post_message("port", None, event.ports))
        yield Two(bus, a, b)


async def refusals(renderer: IpcRenderer, port: MessagePort, count: int = 1) -> None:
    """Wait until a port was told that nothing comes of its socket."""
    assert port.end is not None
    remote = port.end.remote
    assert remote is not None
    await until(lambda: remote._refusals >= count)


async def test_traffic_makes_a_port_direct(address: str) -> None:
    async with two(address, Config()) as here:
        a, b = await here.channel()
        got = await here.talk(a, b)
        for number in range(62):
            a.post_message(number)
        await until(lambda: len(got) == 63)
        await here.bus.served(here.a)
        assert here.bus.broker.stats()["direct_ports"] == 0
        a.post_message("the one that makes it a window's worth")
        await here.until_direct(1)
        assert here.bus.broker.stats()["direct_ports"] == 1


async def test_all_of_one_connection_share_one_for_descriptors(address: str) -> None:
    async with two(address) as here:
        ports = [await here.channel() for _ in range(3)]
        for pair in ports:
            await here.talk(*pair)
        await here.until_direct(3)
        for a, _ in ports:
            a.close()
        await here.until_direct(0)


async def test_a_lost_connection_for_descriptors_is_opened_again(address: str) -> None:
    async with two(address) as here:
        first = await here.channel()
        await here.talk(*first)
        await here.until_direct(1)
        peer = here.bus.peer(here.a)
        former = peer.descriptors
        assert former is not None
        former.abort()
        await until(lambda: peer.descriptors is None)
        await until(lambda: here.a._session is not None and here.a._session.descriptors._descriptors is None)  # type: ignore[union-attr]
        second = await here.channel()
        await here.talk(*second)
        await here.until_direct(2)
        assert peer.descriptors is not former


async def test_where_there_is_no_descriptor_to_spare_ports_stay_relayed(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        monkeypatch.setattr("mainbus.direct_ports.has_files", lambda fd: False)
        got = await here.talk(a, b)
        await refusals(here.b, b)
        monkeypatch.undo()
        assert open_files.has_files(3)
        # Later, it tries again.
        for number in range(40):
            a.post_message(number)
        await until(lambda: len(got) == 41)
        await here.until_direct(1)


async def test_more_than_one_may_have_are_refused_by_the_renderer_itself(address: str) -> None:
    async with two(address) as here:
        first = await here.channel()
        await here.talk(*first)
        await here.until_direct(1)
        session = here.b._session
        assert session is not None
        assert session.ports.direct is not None
        session.ports.direct._most = 1
        a, b = await here.channel()
        await here.talk(a, b)
        await refusals(here.a, a)
        assert here.b.stats()["direct_ports"] == 1


async def test_no_more_ports_are_direct_than_may_be(address: str) -> None:
    async with two(address, Config(limits=Limits(direct_after=1, direct=2))) as here:
        channels = [await here.channel() for _ in range(4)]
        for a, b in channels:
            await here.talk(a, b)
        await refusals(here.a, channels[-1][0])
        await here.until_direct(2)
        assert here.bus.broker.stats()["direct_ports"] == 2


async def test_all_ports_are_relayed_where_that_is_switched_off(address: str) -> None:
    async with two(address, Config(direct_ports=False, limits=Limits(direct_after=1))) as here:
        a, b = await here.channel()
        got = await here.talk(a, b)
        a.post_message("second")
        await until(lambda: len(got) == 2)
        assert here.a.stats()["direct_ports"] == here.bus.broker.stats()["direct_ports"] == 0


@pytest.mark.contract("8.4")
async def test_a_role_without_direct_keeps_its_ports_with_the_broker(address: str) -> None:
    every = ["*"]
    tied = Role(match=Match(token="tied"), names=every, send=every, invoke=every, handle=every, listen=every)
    async with two(address, Config(limits=Limits(direct_after=1), roles={"tied": tied})) as here:
        c = await here.bus.renderer("c", token="tied")
        arrived = Calls()
        c.on("port", lambda event, _: arrived(event.ports[0]))
        here.bus.ipc_main.on("tie", lambda event, _: here.bus.contents(c).post_message("port", None, event.ports))
        channel = MessageChannel()
        here.a.post_message("tie", None, [channel.port2])
        (there,) = await arrived.wait()
        got = await here.talk(channel.port1, there)
        for number in range(10):
            channel.port1.post_message(number)
            await until(lambda: got[-1] == number)  # noqa: B023 - it is awaited at once
        assert here.a.stats()["direct_ports"] == c.stats()["direct_ports"] == 0


@pytest.mark.contract("7.2")
async def test_a_message_with_a_port_goes_by_the_broker_in_its_place(address: str) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        got: list[Any] = []
        b.on("message", lambda event: got.append((event.data, len(event.ports))))
        b.start()
        a.post_message("first")
        await here.until_direct(1)
        for number in range(3):
            a.post_message("plain")
            a.post_message(number, [MessageChannel().port2])
        a.post_message("last")
        await until(lambda: len(got) == 8)
        assert got == [("first", 0), ("plain", 0), (0, 1), ("plain", 0), (1, 1), ("plain", 0), (2, 1), ("last", 0)]
        a.post_message("more")
        await here.until_direct(1)
        await until(lambda: got[-1] == ("more", 0))


@pytest.mark.contract("3.10")
async def test_what_was_posted_arrives_before_its_renderer_leaves(address: str) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        got = await here.talk(a, b)
        closed = Calls()
        b.on("close", closed)
        await here.until_direct(1)
        # More than may be under way at once.
        for number in range(1000):
            a.post_message(number)
        await here.a.aclose()
        await closed.wait()
        assert got == ["first", *range(1000)]


@pytest.mark.contract("9.2")
async def test_a_direct_port_that_is_not_taken_holds_up_its_sender(address: str) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        taking = b.__aiter__()
        a.post_message("first")
        assert (await within(anext(taking))).data == "first"
        await here.until_direct(1)
        body = bytes(16 * 1024)
        for _ in range(200):
            a.post_message(body)
        # All that may be under way, and no more, is in the other renderer.
        assert b.end is not None
        end = b.end
        most = -(-WINDOW // (DIRECT_OVERHEAD + len(clone.encode(body))))
        await until(lambda: len(end.queue) >= most)
        await here.bus.served(here.a)
        assert len(end.queue) == most
        for _ in range(200):
            assert (await within(anext(taking))).data == body
        await within(a.drain())


@pytest.mark.contract("9.2")
async def test_who_has_not_taken_what_came_past_the_broker_asks_for_no_new_window(address: str) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        taking = b.__aiter__()
        a.post_message("first")
        assert (await within(anext(taking))).data == "first"
        await here.until_direct(1)
        a.post_message("past the broker")
        assert b.end is not None
        end = b.end
        await until(lambda: end.apart == 1)
        # Back to the relay, which goes on alone.
        a.post_message("with a port", [MessageChannel().port2])
        for number in range(5):
            a.post_message(number)
        await until(lambda: len(end.queue) == 7)
        await here.bus.served(here.b)
        ports = here.bus.peer(here.b).ports
        assert ports is not None
        assert [each.wants_direct for each in ports.ports.values() if isinstance(each, PortEnd)] == [False, False]
        got = [(await within(anext(taking))).data for _ in range(7)]
        assert got == ["past the broker", "with a port", *range(5)]
        a.post_message("more")
        await here.until_direct(1)


@pytest.mark.contract("7.3")
async def test_a_connection_that_is_lost_takes_its_direct_ports_along(address: str) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        got = await here.talk(a, b)
        closed = Calls()
        b.on("close", closed)
        await here.until_direct(1)
        a.post_message("last")
        await within(a.drain())
        assert here.a._session is not None
        assert here.a._session.link is not None
        here.a._session.link.abort()
        await closed.wait()
        assert got == ["first", "last"]
        assert here.a.stats()["direct_ports"] == 0


@pytest.mark.parametrize("turns", range(0, 40, 7))
async def test_whenever_a_connection_is_lost_nothing_is_left(address: str, turns: int) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        b.start()
        a.post_message("first")
        for _ in range(turns):
            await asyncio.sleep(0)
        assert here.a._session is not None
        if here.a._session.link is not None:
            here.a._session.link.abort()


async def test_a_refused_connection_for_descriptors_is_not_tried_again(address: str) -> None:
    async with two(address) as here:
        here.bus.peer(here.a).key = b"another key"
        a, b = await here.channel()
        got = await here.talk(a, b)
        for number in range(100):
            a.post_message(number)
        await until(lambda: len(got) == 101)
        assert here.a.stats()["direct_ports"] == 0


async def test_ports_of_one_renderer_stay_with_the_broker(address: str) -> None:
    async with two(address) as here:
        here.bus.ipc_main.on("back", lambda event, _: here.bus.contents(here.b).post_message("port", None, event.ports))
        channel = MessageChannel()
        here.b.post_message("back", None, [channel.port2])
        (there,) = await here.arrived.wait()
        got = await here.talk(channel.port1, there)
        await refusals(here.b, there)
        for number in range(10):
            channel.port1.post_message(number)
        await until(lambda: len(got) == 11)


async def test_what_has_come_past_the_broker_moves_on_and_costs_no_credit(address: str) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        b.start()
        a.post_message("first")
        await here.until_direct(1)
        b.__aiter__()
        for number in range(50):
            a.post_message(number)
        assert b.end is not None
        end = b.end
        await until(lambda: len(end.queue) >= 50)
        count = len(here.arrived.calls)
        here.b.post_message("to", None, [b])
        (moved,) = await here.arrived.wait(count + 1)
        assert moved.end is not None
        got: list[Any] = []
        moved.on("message", lambda event: got.append(event.data))
        moved.start()
        await until(lambda: len(got) >= 50)
        assert got[-50:] == [*range(50)]
        assert not moved.end.apart
        await within(a.drain())


@asynccontextmanager
async def liar(address: str) -> AsyncIterator[tuple[Bus, MessagePort, Liar, socket.socket]]:
    """Run a broker, a port of a renderer, and who is at its other end: on the bare wire, with their socket."""
    async with (
        Bus(address, config=AT_ONCE) as bus,
        raw(address, "b", features=FEATURES) as b,
        Descriptors(address, b) as lane,
    ):
        assert await lane.record() is not None
        bus.ipc_main.on("to", lambda event, name: _named(bus, name).post_message("port", None, event.ports))
        a = await bus.renderer("a")
        channel = MessageChannel()
        a.post_message("to", "b", [channel.port2])
        channel.port1.start()
        side = Liar(b, int.from_bytes((await b.next(POST)).body[:4]), lane)
        channel.port1.post_message("first")
        side.ask()
        serial, sock = await side.given()
        with sock:
            side.switch(serial)
            assert await side.switched() == (serial, 0)
            yield bus, channel.port1, side, sock


def _named(bus: Bus, name: str) -> WebContents:
    contents = bus.broker.web_contents.from_name(name)
    assert contents is not None
    return contents


@pytest.mark.contract("7.3")
async def test_whom_the_broker_closes_says_nothing_more_past_it(address: str) -> None:
    async with liar(address) as (bus, port, _, sock):
        log = heard(port)
        sock.send(build(Kind.PORT_MESSAGE, body=clone.encode("before")))
        _named(bus, "b").close("revoked")
        await until(lambda: log[-1:] == ["closed"])
        assert log == ["before", "closed"]
        with pytest.raises(BrokenPipeError):
            sock.send(build(Kind.PORT_MESSAGE, body=clone.encode("after")))


@pytest.mark.contract("7.3")
async def test_who_has_given_its_port_away_does_not_speak_on_past_the_broker(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainbus.direct_link.PATIENCE", 0.001)
    async with liar(address) as (bus, port, b, sock):
        log = heard(port)
        c = await bus.renderer("c")
        arrived = Calls()
        c.on("port", lambda event, _: arrived(event.ports[0]))
        b.raw.write(Packet(POST, value=1, channel=b"to", body=b.port.to_bytes(4) + bytes(4) + args("c")))
        b.raw.write(Packet(PORT_CLOSE, peer=b.port))
        (moved,) = await arrived.wait()
        there = heard(moved)
        moved.post_message("by its new owner")
        # Who has had it never says that it has: what it has not said cannot come behind that.
        await until(lambda: log[-1:] == there[-1:] == ["closed"])
        with pytest.raises(BrokenPipeError):
            sock.send(build(Kind.PORT_MESSAGE, body=clone.encode("as if from there")))
        assert log == ["closed"]
        assert await b.raw.is_served()


async def test_a_blocking_renderer_has_relayed_ports(address: str) -> None:
    async with two(address) as here:
        got: list[Any] = []

        def use() -> None:
            with connect_blocking(here.bus.address, name="c") as renderer:
                renderer.on("port", lambda event, _: event.ports[0].post_message("from a thread"))
                assert renderer.invoke("ready") is None
                done.wait(10)

        done = threading.Event()
        ready = asyncio.Event()
        here.bus.ipc_main.handle("ready", lambda event: ready.set())
        thread = asyncio.ensure_future(asyncio.to_thread(use))
        await within(ready.wait())
        contents = here.bus.broker.web_contents.from_name("c")
        assert contents is not None
        here.bus.ipc_main.on("thread", lambda event, _: contents.post_message("port", None, event.ports))
        channel = MessageChannel()
        channel.port1.on("message", lambda event: got.append(event.data))
        channel.port1.start()
        here.a.post_message("thread", None, [channel.port2])
        await until(lambda: got)
        channel.port1.post_message("an answer")
        assert here.a.stats()["direct_ports"] == 0
        done.set()
        await within(thread)


async def test_a_renderer_at_a_memory_address_does_not_offer_it() -> None:
    async with Bus("memory:no-descriptors", config=Config(limits=Limits(direct_after=1))) as bus:
        renderer = await bus.renderer("a")
        assert isinstance(renderer, mainbus.IpcRenderer)
        assert renderer._session is not None
        assert renderer._session.ports.direct is None


@pytest.mark.parametrize("turns", range(0, 40, 7))
@pytest.mark.parametrize("way", ["close", "leave"])
async def test_whenever_a_port_is_closed_or_leaves_nothing_waits_for_its_socket(
    address: str, way: str, turns: int
) -> None:
    async with two(address) as here:
        a, b = await here.channel()
        got = await here.talk(a, b)
        a.post_message("second")
        for _ in range(turns):
            await asyncio.sleep(0)
        if way == "close":
            a.close()
        else:
            here.a.post_message("to", None, [a])
            (moved,) = await here.arrived.wait(2)
            moved.post_message("third")
            await until(lambda: len(got) == 3)
            moved.close()
        for renderer in (here.a, here.b):
            assert renderer._session is not None
            direct = renderer._session.ports.direct
            assert direct is not None
            await until(lambda: direct.is_empty)  # noqa: B023 - it is awaited at once
        assert got[:2] == ["first", "second"] or way == "close"
