"""mainbus over message ports between two renderers: direct where the platform can, relayed by the broker elsewhere."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any, Final

import common
import mainbus
from common import Order
from mainbus_broker import Broker, IpcMain, IpcMainEvent, MessageChannelMain

from peers.base import Client, Peer, Take
from peers.mainbus_bus import Mainbus, renderer

CALLS: Final = "calls"
MESSAGES: Final = "messages"


class Ports(Client):
    """A renderer with two ports that lead to another one: for calls, and for one-way messages."""

    def __init__(self, ipc_renderer: mainbus.IpcRenderer, ports: dict[str, mainbus.MessagePort]) -> None:
        self._renderer = ipc_renderer
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._calls = ports[CALLS]
        self._messages = ports[MESSAGES]
        self._calls.on("message", self._take_answer)
        self._calls.start()

    def call(self, value: Any) -> Awaitable[Any]:
        future = self._loop.create_future()
        self._waiting.append(future)
        self._calls.post_message(value)
        return future

    async def send(self, value: Any, count: int) -> None:
        for _ in range(count):
            self._messages.post_message(value)
        await self._messages.drain()

    async def flush(self) -> None:
        await self._messages.drain()

    def _take_answer(self, event: mainbus.MessageEvent) -> None:
        self._waiting.popleft().set_result(event.data)


class PortAnswer(Client):
    """The renderer at the other ends."""

    def __init__(self, ipc_renderer: mainbus.IpcRenderer) -> None:
        self._renderer = ipc_renderer

    def call(self, value: Any) -> Awaitable[Any]:
        raise NotImplementedError

    async def answer(self, take: Take) -> None:
        def on_port(event: mainbus.IpcRendererEvent, purpose: str) -> None:
            (port,) = event.ports
            if purpose == CALLS:
                port.on("message", lambda event: port.post_message(event.data))
            else:
                port.on("message", lambda event: take(event.data))
            port.start()

        self._renderer.on("port", on_port)


class MainbusPorts(Mainbus):
    name = "mainbus-port"
    title = "mainbus, port between two renderers"
    workloads = frozenset({"latency", "in-flight", "one-way", "payload"})

    async def broker(self, order: Order) -> None:
        ipc_main = IpcMain()
        async with Broker(f"unix:{order.path}", ipc_main=ipc_main) as running:

            @ipc_main.on("introduce")
            def introduce(event: IpcMainEvent, purpose: str) -> None:
                answer = running.web_contents.from_name("answer")
                assert answer is not None
                channel = MessageChannelMain()
                answer.post_message("port", purpose, [channel.port1])
                event.sender.post_message("port", purpose, [channel.port2])

            common.ready()
            await running.serve_forever()

    async def connect(self, order: Order) -> Client:
        ipc_renderer = await renderer(order)
        if order.role == "answer":
            return PortAnswer(ipc_renderer)
        ports: dict[str, mainbus.MessagePort] = {}
        for purpose in (CALLS, MESSAGES):
            ipc_renderer.send("introduce", purpose)
            event, _ = await ipc_renderer.wait_for("port")
            (ports[purpose],) = event.ports
        return Ports(ipc_renderer, ports)


PEERS: Final[dict[str, Peer]] = {MainbusPorts.name: MainbusPorts()}
