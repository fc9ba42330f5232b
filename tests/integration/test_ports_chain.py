"""Ports that go from process to process: nothing is lost on the way, and whoever dies closes what it had."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from mainbus import IpcRenderer, MessageChannel
from mainbus.ports import MessagePort
from mainbus_broker import WebContents

from tests.support.bus import KILLED, Bus, Program, until, within
from tests.support.renderers import stop

NODES = ("a", "b", "c", "d")
HOPS = 10
COUNT = 10_000
SHARE = COUNT // (HOPS + 1)
LARGE = 200_000

NODE = """
HOPS, SHARE = map(int, sys.argv[3:])

def take(event, hop, due):
    port, = event.ports
    last = due + SHARE

    def echo(event):
        nonlocal due
        number, filling = event.data
        if number != due:
            say("hop", hop, "expected", due, "and got", number)
        due += 1
        port.post_message([number, filling])
        if due == last and hop < HOPS:
            renderer.post_message("hop", [hop, due], [port])

    port.on("message", echo)
    port.on("close", lambda: say("closed at hop", hop, "after", due))
    port.start()

async def main():
    async with renderer:
        renderer.on("port", lambda event, state: take(event, *state))
        say("ready")
        await forever()

renderer = mainbus.connect(sys.argv[1], name=sys.argv[2], reconnect=False)
asyncio.run(main())
"""
"""A renderer that sends back what comes by a port, and after its share of that passes the port on."""

HOLDER = """
async def open_nested(port, depth):
    async for event in port:
        say("depth", depth, event.data)
        for inner in event.ports:
            await open_nested(inner, depth + 1)
        if not event.ports:
            port.post_message("from the innermost")
            await renderer.drain()
            say("answered")
        return

held = []

async def post(event, what):
    port, = event.ports
    held.append(port)
    if what == "nested":
        await open_nested(port, 0)
    elif what == "whole":
        for number in range(50):
            port.post_message(number)
        await renderer.drain()
    elif what == "large":
        port.post_message("small")
        port.post_message("x" * 3_000_000)
        transport = renderer._session.link.transport
        # Or all of it has left already.
        while not transport.get_write_buffer_size() and renderer.stats()["queued"]:
            await asyncio.sleep(0)
        os.kill(os.getpid(), KILL)
    elif what == "inside":
        inner = mainbus.MessageChannel()
        held.append(inner.port1)
        inner.port1.post_message("before it left")
        port.post_message("with a port", [inner.port2])
        inner.port1.post_message("behind it")
        # The broker has asked for what had come to the port that has left, and it was sent.
        await renderer.invoke("bus:ping")
        await renderer.drain()
    say("done", what)

async def main():
    async with renderer:
        renderer.on("port", post)
        renderer.handle("reached", lambda event: None)
        say("ready")
        await forever()

renderer = mainbus.connect(sys.argv[1], name=sys.argv[2], reconnect=False)
asyncio.run(main())
"""
"""A renderer that takes a port and does with it what the message says."""


@asynccontextmanager
async def nodes(address: str, source: str, *names: str, args: tuple[str, ...] = ()) -> AsyncIterator[list[Program]]:
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(Program(source, address, name, *args)) for name in names]
        for program in found:
            assert await program.line() == "ready"
        yield found


def contents(bus: Bus, name: str) -> WebContents:
    found = bus.broker.web_contents.from_name(name)
    assert found is not None
    return found


def filling(number: int) -> str:
    """Return what makes some messages too long for one packet."""
    return "x" * LARGE if number % 500 == 7 else ""


def heard(port: MessagePort) -> list[Any]:
    """Start a port; returns the list to which what it gets, and its close, are added."""
    log: list[Any] = []
    port.on("message", lambda event: log.append(event.data))
    port.on("close", lambda: log.append("closed"))
    port.start()
    return log


async def nothing_left(bus: Bus, *renderers: IpcRenderer) -> None:
    """Wait until no registry has an end of a channel."""

    def left() -> list[object]:
        found: list[object] = [peer.ports.ports for peer in bus.hub.renderers if peer.ports is not None]
        found += [bus.hub.main_ports.ports, *range(len(bus.hub.main_ports))]
        for renderer in renderers:
            assert renderer._session is not None
            found += range(len(renderer._session.ports))
        return [each for each in found if each != {}]

    await until(lambda: not left())


async def send_out(port: MessagePort, echoed: list[list[Any]]) -> None:
    """Post all messages, no faster than they are taken, and close when all have come back."""
    port.on("message", lambda event: echoed.append(event.data))
    port.start()
    for number in range(COUNT):
        port.post_message([number, filling(number)])
        if number % 100 == 0:
            await port.drain()
    await until(lambda: len(echoed) >= COUNT)
    port.close()


# On the way.


@pytest.mark.contract("7.2", "2.19")
@pytest.mark.parametrize("keeper", ["main", "renderer"])
async def test_ten_transfers_lose_and_reorder_nothing(keeper: str, address: str) -> None:
    async with Bus(address) as bus, nodes(address, NODE, *NODES, args=(str(HOPS), str(SHARE))) as programs:
        path: list[str] = []

        def pass_on(event: Any, state: list[int]) -> None:
            hop, due = state
            path.append(NODES[hop % len(NODES)])
            contents(bus, path[-1]).post_message("port", [hop + 1, due], event.ports)

        bus.ipc_main.on("hop", pass_on)
        channel = MessageChannel()
        renderer = await bus.renderer()
        if keeper == "main":
            path.append("a")
            contents(bus, "a").post_message("port", [1, 0], [channel.port2])
        else:
            renderer.post_message("hop", [0, 0], [channel.port2])
        echoed: list[list[Any]] = []
        await within(send_out(channel.port1, echoed))
        assert [number for number, _ in echoed] == list(range(COUNT))
        assert [text for _, text in echoed] == [filling(number) for number in range(COUNT)]
        assert path == [NODES[hop % len(NODES)] for hop in range(HOPS)]
        assert await programs[(HOPS - 1) % len(NODES)].line() == f"closed at hop {HOPS} after {COUNT}"
        await nothing_left(bus, renderer)
        # A hop that was passed by has nothing to say: neither a wrong number, nor that its port was closed.
        for program in programs:
            program.process.terminate()
            assert await within(program.process.stdout.read()) == b""


def nested(depth: int) -> tuple[MessagePort, MessagePort]:
    """Return a port by which a port comes by which a port comes, and the other end of the innermost channel."""
    inner = MessageChannel()
    inner.port1.post_message(f"level {depth}")
    port, far = inner.port2, inner.port1
    for level in range(depth - 1, -1, -1):
        outer = MessageChannel()
        outer.port1.post_message(f"level {level}", [port])
        port = outer.port2
        outer.port1.close()
    return port, far


@pytest.mark.contract("7.2")
@pytest.mark.parametrize("depth", [2, 30])
@pytest.mark.parametrize("maker", ["main", "renderer"])
async def test_ports_inside_ports_arrive_with_what_was_posted_on_them(maker: str, depth: int, address: str) -> None:
    async with Bus(address) as bus, nodes(address, HOLDER, "node") as (program,):
        renderer = await bus.renderer()
        bus.ipc_main.on("port", lambda event, what: contents(bus, "node").post_message("port", what, event.ports))
        port, far = nested(depth)
        if maker == "main":
            contents(bus, "node").post_message("port", "nested", [port])
        else:
            renderer.post_message("port", "nested", [port])
        for level in range(depth + 1):
            assert await program.line() == f"depth {level} level {level}"
        assert await program.line() == "answered"
        log = heard(far)
        await until(lambda: log)
        assert log == ["from the innermost"]
        far.close()
        assert await program.line() == "done nested"
        program.kill()
        await nothing_left(bus, renderer)


# Holders that die.


async def with_victim(bus: Bus, what: str, keeper: str, port: MessagePort) -> IpcRenderer:
    """Give a port to the victim, from the main process or from a renderer."""
    renderer = await bus.renderer()
    if keeper == "main":
        contents(bus, "victim").post_message("port", what, [port])
    else:
        bus.ipc_main.on("port", lambda event, what: contents(bus, "victim").post_message("port", what, event.ports))
        renderer.post_message("port", what, [port])
    return renderer


@pytest.mark.contract("7.3", "9.5")
@pytest.mark.parametrize("keeper", ["main", "renderer"])
async def test_a_killed_holder_closes_the_other_end_after_what_was_queued(keeper: str, address: str) -> None:
    async with Bus(address) as bus, nodes(address, HOLDER, "victim") as (victim,):
        channel = MessageChannel()
        renderer = await with_victim(bus, "whole", keeper, channel.port2)
        assert await victim.line() == "done whole"
        victim.kill()
        await until(lambda: bus.broker.web_contents.from_name("victim") is None)
        log = heard(channel.port1)
        await until(lambda: log[-1:] == ["closed"])
        assert log == [*range(50), "closed"]
        channel.port1.post_message("nobody is there")
        await nothing_left(bus, renderer)


@pytest.mark.contract("7.3", "9.5")
@pytest.mark.parametrize("keeper", ["main", "renderer"])
async def test_of_a_message_that_is_cut_short_nothing_arrives_but_the_close(keeper: str, address: str) -> None:
    async with Bus(address) as bus, nodes(address, HOLDER, "victim") as (victim,):
        channel = MessageChannel()
        log = heard(channel.port1)
        renderer = await with_victim(bus, "large", keeper, channel.port2)
        assert await victim.end() == KILLED
        await until(lambda: log[-1:] == ["closed"])
        # Whatever has come of it is whole.
        assert [len(text) for text in log] in ([6], [5, 6], [5, 3_000_000, 6])
        await nothing_left(bus, renderer)


@pytest.mark.contract("7.3", "9.5")
@pytest.mark.parametrize("keeper", ["main", "renderer"])
async def test_a_port_that_waits_in_a_message_of_the_dead_arrives_and_is_closed(keeper: str, address: str) -> None:
    async with Bus(address) as bus, nodes(address, HOLDER, "victim") as (victim,):
        channel = MessageChannel()
        renderer = await with_victim(bus, "inside", keeper, channel.port2)
        assert await victim.line() == "done inside"
        victim.kill()
        await until(lambda: bus.broker.web_contents.from_name("victim") is None)
        got: list[Any] = []

        async def take() -> None:
            async for event in channel.port1:
                got.append(event.data)
                got.extend([inner.data async for inner in event.ports[0]])

        await within(take())
        assert got == ["with a port", "before it left", "behind it"]
        await nothing_left(bus, renderer)


@pytest.mark.contract("7.3", "9.5")
@pytest.mark.parametrize("keeper", ["main", "renderer"])
async def test_ports_on_their_way_to_one_that_dies_are_closed(keeper: str, address: str) -> None:
    async with Bus(address) as bus, nodes(address, HOLDER, "victim") as (victim,):
        await stop(victim)
        channel, inside = MessageChannel(), MessageChannel()
        channel.port1.post_message("never taken", [inside.port2])
        renderer = await with_victim(bus, "whole", keeper, channel.port2)
        await bus.served(renderer)
        logs = [heard(channel.port1), heard(inside.port1)]
        victim.kill()
        await until(lambda: logs == [["closed"], ["closed"]])
        await nothing_left(bus, renderer)


# Nobody listens.


@pytest.mark.contract("7.3")
@pytest.mark.parametrize("way", ["renderer to main", "main to renderer", "main to process", "by way of main"])
async def test_a_port_to_a_channel_that_nobody_listens_to_closes_its_other_end(way: str, address: str) -> None:
    async with Bus(address) as bus, nodes(address, HOLDER, "node") as (_,):
        renderer = await bus.renderer()
        bus.ipc_main.on("forward", lambda event: contents(bus, "node").post_message("nobody", None, event.ports))
        post: dict[str, Callable[..., object]] = {
            "renderer to main": lambda ports: renderer.post_message("nobody", None, ports),
            "main to renderer": lambda ports: bus.contents(renderer).post_message("nobody", None, ports),
            "main to process": lambda ports: contents(bus, "node").post_message("nobody", None, ports),
            "by way of main": lambda ports: renderer.post_message("forward", None, ports),
        }
        channel, inside = MessageChannel(), MessageChannel()
        log = heard(channel.port1)
        channel.port2.post_message("before it left")
        channel.port1.post_message("untaken", [inside.port1])
        post[way]([channel.port2])
        inner = heard(inside.port2)
        await until(lambda: log[-1:] == ["closed"] and inner)
        assert (log, inner) == (["before it left", "closed"], ["closed"])
        await within(contents(bus, "node").invoke("reached"))
        await nothing_left(bus, renderer)
