"""Ports that move while they are used: each of these once lost, overtook or waited for ever."""

import asyncio
import gc
from functools import partial
from typing import Any

import pytest
from mainbus import IpcRenderer, MessageChannel
from mainbus.ports import MessagePort
from mainbus.testing import Bus, broker
from mainbus_broker import Config, Limits

from tests.support import bus as unix
from tests.support.bus import stop_reading, until, within

WINDOW = 256 * 1024
LARGE = 3 * 1024 * 1024


class Desk:
    """Where ports are handed on: to the main process, and from it to renderers."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self._arrived: asyncio.Queue[list[MessagePort]] = asyncio.Queue()
        bus.ipc_main.on("ports", lambda event, _: self._arrived.put_nowait(event.ports))

    async def renderer(self, name: str) -> IpcRenderer:
        renderer = await self.bus.connect(name, reconnect=False)
        renderer.on("ports", lambda event, _: self._arrived.put_nowait(event.ports))
        return renderer

    def to_main(self, renderer: IpcRenderer, *ports: MessagePort) -> None:
        renderer.post_message("ports", None, ports)

    def to(self, renderer: IpcRenderer, *ports: MessagePort) -> None:
        contents = self.bus.broker.web_contents.from_id(renderer.id)
        assert contents is not None
        contents.post_message("ports", None, ports)

    async def arrived(self) -> list[MessagePort]:
        return await within(self._arrived.get())


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def heard(port: MessagePort) -> list[Any]:
    log: list[Any] = []
    port.on("message", lambda event: log.append(event.data[0]))
    port.on("close", lambda: log.append("closed"))
    port.start()
    return log


@pytest.mark.contract("7.2", "9.2")
@pytest.mark.parametrize("taken", [0, 1, 3])
async def test_a_port_that_moves_twenty_times_with_traffic_does_not_stall(taken: int) -> None:
    async with broker() as bus:
        desk = Desk(bus)
        renderers = [await desk.renderer(name) for name in "abc"]
        channel = MessageChannel()
        sender = channel.port2
        desk.to_main(renderers[0], channel.port1)
        (port,) = await desk.arrived()
        sent, got = 0, []
        for move in range(20):
            for _ in range(8):
                # Each owner takes less than it would tell the sender of by itself.
                sender.post_message([sent, bytes(30_000)])
                sent += 1
            if taken:
                count = 0
                async for event in port:
                    got.append(event.data[0])
                    count += 1
                    if count == taken:
                        break
            renderer = renderers[move % 3]
            desk.to(renderer, port)
            (port,) = await desk.arrived()
            desk.to_main(renderer, port)
            (port,) = await desk.arrived()
        log = heard(port)
        await until(lambda: len(log) == sent - len(got))
        assert got + log == list(range(sent))
        # Nothing of the window is lost: a sender that waits for it gets it.
        await within(sender.drain())
        sender.close()
        await until(lambda: log[-1] == "closed")


@pytest.mark.contract("7.2", "2.19")
@pytest.mark.parametrize("wait", range(0, 60, 4))
async def test_credit_that_comes_while_a_port_leaves_lets_nothing_overtake(wait: int) -> None:
    async with broker() as bus:
        desk = Desk(bus)
        a, b = await desk.renderer("a"), await desk.renderer("b")
        channel = MessageChannel()
        desk.to_main(a, channel.port1)
        (other,) = await desk.arrived()
        sender, log = channel.port2, heard(other)
        # Something large has its turns between the packets of the port.
        a.post_message("bulk", bytes(8 * LARGE))
        for number in range(40):
            sender.post_message([number, bytes(150_000)])
        await turns(wait)
        desk.to_main(a, sender)
        (sender,) = await desk.arrived()
        desk.to(b, sender)
        (sender,) = await desk.arrived()
        sender.post_message([40])
        sender.close()
        await until(lambda: "closed" in log)
        assert log == [*range(41), "closed"]


@pytest.mark.contract("7.2")
@pytest.mark.parametrize("owner", ["main", "renderer"])
async def test_a_new_port_that_leaves_with_one_on_which_its_partner_was_posted(owner: str) -> None:
    async with broker() as bus:
        desk = Desk(bus)
        a, b = await desk.renderer("a"), await desk.renderer("b")
        carrier, fresh = MessageChannel(), MessageChannel()
        if owner == "renderer":
            desk.to_main(a, carrier.port1)
        else:
            desk.to(b, carrier.port1)
        (other,) = await desk.arrived()
        carrier.port2.post_message(["fills the window", bytes(WINDOW)])
        carrier.port2.post_message(["behind it"], [fresh.port2])
        if owner == "renderer":
            desk.to_main(a, fresh.port1, carrier.port2)
        else:
            desk.to(b, fresh.port1, carrier.port2)
        one, last = await desk.arrived()
        one.post_message(["through"])
        one.close()
        async for event in other:
            if event.ports:
                log = heard(event.ports[0])
                break
        await until(lambda: log == ["through", "closed"])
        last.close()


@pytest.mark.contract("7.2")
async def test_a_port_that_waits_for_the_one_it_was_posted_on() -> None:
    # A message to the main process itself brings back, with what had come for its port, the port that it is posted on.
    async with broker() as bus:
        desk = Desk(bus)
        a = await desk.renderer("a")
        outer, inner = MessageChannel(), MessageChannel()
        desk.to(a, outer.port1)
        (far,) = await desk.arrived()
        desk.to_main(a, far)
        (far,) = await desk.arrived()
        near = outer.port2
        near.post_message(["fills the window", bytes(WINDOW)])
        near.post_message(["carries"], [inner.port1])
        inner.port2.post_message(["brings back"], [near])
        got = []
        async for event in far:
            got.append(event.data[0])
            if event.ports:
                break
        async for brought in event.ports[0]:
            got.append(brought.data[0])
            break
        assert got == ["fills the window", "carries", "brings back"]
        log = heard(brought.ports[0])
        far.post_message(["to near"])
        far.close()
        await until(lambda: log == ["to near", "closed"])
        inner.port2.close()


@pytest.mark.contract("7.3")
@pytest.mark.parametrize("where", ["main", "renderer", "both"])
async def test_two_ends_that_close_with_much_to_send_do_not_wait_for_each_other(where: str) -> None:
    async with broker() as bus:
        desk = Desk(bus)
        a = await desk.renderer("a")
        channel = MessageChannel()
        desk.to_main(a, channel.port1)
        (port,) = await desk.arrived()
        ends = [port, channel.port2]
        if where == "main":
            desk.to_main(a, channel.port2)
            (ends[1],) = await desk.arrived()
        elif where == "renderer":
            desk.to(a, port)
            (ends[0],) = await desk.arrived()
        for end in ends:
            for _ in range(30):
                end.post_message([0, bytes(30_000)])
        await bus.settle()
        for end in ends:
            end.close()
        del ends, end, port, channel
        gc.collect()
        hub, session = bus.broker._hub, a._session
        assert hub is not None
        assert session is not None
        await until(lambda: not hub.main_ports.ports and session.ports.is_empty)
        assert len(hub.main_ports) == 0


@pytest.mark.contract("2.20", "7.1")
async def test_messages_that_arrive_while_a_coroutine_begins_are_taken() -> None:
    async with broker() as bus:
        desk = Desk(bus)
        a, b = await desk.renderer("a"), await desk.renderer("b")
        channel = MessageChannel()
        # Both ends in the main process, by the broker: what is taken lets the next arrive at once.
        desk.to(a, channel.port1)
        (one,) = await desk.arrived()
        desk.to_main(a, one)
        (one,) = await desk.arrived()
        log: list[int] = []

        async def slowly(event: Any) -> None:
            log.append(event.data[0])
            await asyncio.sleep(0)

        one.on("message", slowly)
        one.start()
        for number in range(200):
            channel.port2.post_message([number, bytes(60_000)])
        await until(lambda: len(log) == 200)
        assert log == list(range(200))
        channel.port2.close()
        assert b.is_connected


async def test_a_message_that_was_posted_before_its_limit_was_known_ends_its_channel() -> None:
    async with broker(config=Config(limits=Limits(message=300_000))) as bus:
        desk = Desk(bus)
        a = await desk.renderer("a")
        for send in (desk.to, desk.to_main):
            channel = MessageChannel()
            channel.port2.post_message(["fits"])
            channel.port2.post_message(["does not", bytes(400_000)])
            send(a, channel.port1)
            (port,) = await desk.arrived()
            far, near = heard(port), heard(channel.port2)
            await until(partial(_ended, far))
            await until(partial(_ended, near))
            assert (far, near) == (["fits", "closed"], ["closed"])
        assert a.is_connected


def _ended(log: list[Any]) -> bool:
    return "closed" in log


@pytest.mark.contract("7.2", "9.1")
async def test_what_was_posted_before_the_other_port_left_is_not_lost_while_what_came_behind_it_arrives(
    address: str,
) -> None:
    async with unix.Bus(address) as bus:
        renderer, receiver = await bus.renderer(reconnect=False), await bus.renderer()
        # It takes no part in anything that comes later than its own messages.
        transport = stop_reading(renderer)
        arrived, read = asyncio.get_running_loop().create_future(), unix.Calls()
        bus.ipc_main.on("read", read)
        receiver.on("port", lambda event, _: arrived.set_result(event.ports[0]))
        bus.ipc_main.on("port", lambda event, _: bus.contents(receiver).post_message("port", None, event.ports))
        channel = MessageChannel()
        channel.port1.post_message([0])
        renderer.post_message("port", None, [channel.port2])
        channel.port1.post_message([1])
        log = heard(await within(arrived))
        channel.port1.post_message([2])
        renderer.send("read")
        await read.wait()
        transport.abort()
        await until(lambda: "closed" in log)
        assert log == [0, 1, 2, "closed"]


@pytest.mark.contract("7.2")
@pytest.mark.parametrize("owner", ["main", "renderer"])
async def test_a_port_does_not_leave_before_what_was_posted_on_it_although_that_brings_it_about(owner: str) -> None:
    async with broker() as bus:
        desk = Desk(bus)
        renderer = await desk.renderer("a")
        one, two, inner = MessageChannel(), MessageChannel(), MessageChannel()
        if owner == "main":
            desk.to(renderer, one.port2, two.port2)
        else:
            desk.to_main(renderer, one.port2, two.port2)
        here, there = await desk.arrived()
        for port in (one.port1, two.port1):
            port.post_message(["fills the window", bytes(WINDOW)])
        got: list[str] = []
        seen: dict[str, MessagePort] = {}

        def listen(port: MessagePort) -> None:
            def take(event: Any) -> None:
                got.append(event.data[0])
                for each in event.ports:
                    seen[event.data[0]] = each
                    listen(each)

            port.on("message", take)
            port.start()

        two.port1.post_message(["inner"], [inner.port2])
        one.port1.post_message(["two"], [two.port1])
        one.port1.post_message(["behind it"])
        inner.port1.post_message(["one"], [one.port1])
        listen(here)
        await until(lambda: "two" in seen and "behind it" in got)
        listen(there)
        await until(lambda: "one" in seen)
        assert got == ["fills the window", "two", "behind it", "fills the window", "inner", "one"]
        seen["one"].post_message(["once more"])
        await until(lambda: got[-1] == "once more")
