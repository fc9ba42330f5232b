"""mainbus over its public API, with its default configuration: what a user gets."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

import common
import mainbus
from common import Order
from mainbus_broker import Broker, Config, IpcMain

from peers.base import AsyncPeer, Client, Peer, Take


class Renderer(Client):
    """A renderer that talks to another one."""

    def __init__(self, ipc_renderer: mainbus.IpcRenderer) -> None:
        self._renderer = ipc_renderer

    def call(self, value: Any) -> Awaitable[Any]:
        return self._renderer.invoke_to("answer", "echo", value)

    async def answer(self, take: Take) -> None:
        self._renderer.handle("echo", lambda event, value: value, senders="renderers")
        self._renderer.on("message", lambda event, value: take(value), senders="renderers")

    async def subscribe(self, take: Take) -> None:
        await self.answer(take)

    async def send(self, value: Any, count: int) -> None:
        for _ in range(count):
            self._renderer.send_to("answer", "message", value)
        await self._renderer.drain()

    async def publish(self, value: Any, count: int) -> None:
        for _ in range(count):
            self._renderer.broadcast("message", value)
        await self._renderer.drain()

    async def flush(self) -> None:
        await self._renderer.drain()


class ToMain(Renderer):
    """A renderer that talks to the main process."""

    def call(self, value: Any) -> Awaitable[Any]:
        return self._renderer.invoke("echo", value)

    async def send(self, value: Any, count: int) -> None:
        for _ in range(count):
            self._renderer.send("message", value)
        await self._renderer.drain()


async def renderer(order: Order) -> mainbus.IpcRenderer:
    """Connect a renderer; the answering end has a name."""
    return await mainbus.connect(f"unix:{order.path}", name="answer" if order.role == "answer" else None)


class Mainbus(AsyncPeer):
    name = "mainbus"
    title = "mainbus, renderer to renderer"
    distributions = ("mainbus", "cbor2", "msgspec", "uvloop")
    workloads = frozenset({"latency", "in-flight", "one-way", "broadcast", "payload", "connect"})
    rival = False

    async def connect(self, order: Order) -> Client:
        return Renderer(await renderer(order))

    async def broker(self, order: Order) -> None:
        ipc_main = IpcMain()
        sink = common.Sink()
        ipc_main.handle("echo", lambda event, value: value)
        ipc_main.on("message", lambda event, value: sink.take(value))
        async with Broker(f"unix:{order.path}", ipc_main=ipc_main, config=self.config()) as running:
            common.ready()
            await running.serve_forever()

    def config(self) -> Config:
        return Config()


class MainbusMain(Mainbus):
    name = "mainbus-main"
    title = "mainbus, renderer to main"
    servers = ("broker",)
    workloads = frozenset({"latency", "in-flight", "one-way", "payload"})

    async def connect(self, order: Order) -> Client:
        return ToMain(await renderer(order))


class MainbusSockets(Mainbus):
    """Large messages pass the broker, as they do between users or systems that share no memory."""

    name = "mainbus-socket"
    title = "mainbus, without shared memory"
    workloads = frozenset({"payload"})

    def config(self) -> Config:
        return Config(shared_memory=False)


PEERS: Final[dict[str, Peer]] = {peer.name: peer for peer in (Mainbus(), MainbusMain(), MainbusSockets())}
