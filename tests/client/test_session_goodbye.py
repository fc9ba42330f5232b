"""Goodbyes: a broker that never answers one, and one of its own that overtakes what is about to leave."""

import asyncio
from typing import cast

import mainbus
import pytest
from mainbus import session
from mainbus.wire.messages import Welcome, pack
from mainbus.wire.packets import Kind

from tests.support import bare
from tests.support.bus import Bus, Calls, within
from tests.support.raw import Raw


class Silent(asyncio.Protocol):
    """A broker that welcomes and then never says a word."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's.
        self._transport = cast(asyncio.WriteTransport, transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(pack(Welcome(id=1, session=b"s" * 16, instance=b"i" * 16, lane=b"l" * 16)))
            self._transport = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()


@pytest.mark.contract("3.10")
async def test_it_ends_all_the_same(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "GOODBYE_TIMEOUT", 0.01)
    silent = Silent()
    server = await bare.serve_protocol(address, lambda: silent)
    try:
        async with asyncio.timeout(10):
            ipc_renderer = await mainbus.connect(address)
            await ipc_renderer.aclose()
            await silent.gone.wait()
        assert not ipc_renderer.is_connected
        with pytest.raises(mainbus.ObjectDestroyedError, match="IPC method called after context was released"):
            ipc_renderer.send("channel")
    finally:
        server.close()


async def test_behind_its_goodbye_a_renderer_says_nothing(address: str) -> None:
    kinds: list[int] = []
    left, held = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        broker = Raw(reader, writer)
        await broker.next(Kind.HELLO)
        writer.write(pack(Welcome(id=1, session=b"s" * 16, instance=b"i" * 16, lane=b"l" * 16)))
        while packet := await broker.read():
            kinds.append(packet.kind)
            if packet.kind == Kind.GOODBYE:
                left.set()
                await held.wait()
                writer.close()

    server = await bare.serve(address, serve)
    try:
        ipc_renderer = await mainbus.connect(address)
        ipc_renderer.send("channel")
        closing = asyncio.create_task(ipc_renderer.aclose())
        await within(left.wait())
        for verb in (ipc_renderer.send, ipc_renderer.invoke):
            with pytest.raises(mainbus.ObjectDestroyedError, match="IPC method called after context was released"):
                verb("channel")
        held.set()
        await within(closing)
        assert kinds == [Kind.SEND, Kind.READY, Kind.GOODBYE]
    finally:
        held.set()
        server.close()


@pytest.mark.contract("9.6")
@pytest.mark.parametrize("size", [0, 300_000])
async def test_what_is_sent_right_before_the_brokers_goodbye_waits_for_the_next_connection(
    address: str, size: int
) -> None:
    async with Bus(address) as bus:
        renderer, got = await bus.renderer(), Calls()
        bus.ipc_main.on("item", got)
        bus.ipc_main.handle("echo", lambda event, value: value)
        replies: list[mainbus.Reply] = []

        def now(event: object) -> None:
            renderer.send("item", b"x" * size)
            replies.append(renderer.invoke("echo", b"x" * size))

        renderer.on("now", now)
        # Both arrive together: nothing is read behind the second one.
        bus.contents(renderer).send("now")
        bus.peer(renderer).close("go and come back")
        assert (await got.wait())[1:] == (b"x" * size,)
        assert await within(replies[0]) == b"x" * size
