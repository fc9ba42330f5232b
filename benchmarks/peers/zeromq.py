"""ZeroMQ over ipc. Its broker is three proxies, which are C code without the GIL: for calls, one-way and broadcasts.

Two peers: clients with an event loop (zmq.asyncio), and blocking ones, which is as far as ZeroMQ goes.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
import time
from typing import Any, Final

import common
from common import Order

from peers import programs
from peers.base import AsyncPeer, BlockingClient, BlockingPeer, Client, Peer, Take
from peers.codec import decode, encode

HEAD: Final = struct.Struct("<I")

# What the broker binds for each of its proxies: the kind of socket and the ending of its path.
PROXIES: Final = (
    (("ROUTER", "ask"), ("DEALER", "answer")),
    (("PULL", "push"), ("PUSH", "pull")),
    (("XSUB", "publish"), ("XPUB", "subscribe")),
)

SETTLING: Final = 0.2
"""Seconds until a subscription has arrived, which nobody confirms."""


def _broker(order: Order) -> None:
    import zmq

    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4096)
    for sides in PROXIES:
        sockets: list[Any] = []
        for kind, ending in sides:
            socket: Any = context.socket(getattr(zmq, kind))
            socket.set_hwm(0)
            socket.setsockopt(zmq.BACKLOG, 1024)
            socket.bind(f"ipc://{programs.beside(order.path, ending)}")
            sockets.append(socket)
        threading.Thread(target=zmq.proxy, args=sockets, daemon=True).start()
    common.ready()
    threading.Event().wait()


def _socket(order: Order, context: Any, kind: str, ending: str) -> Any:
    import zmq

    socket = context.instance().socket(getattr(zmq, kind))
    socket.set_hwm(0)
    socket.linger = 0
    if kind == "SUB":
        socket.subscribe(b"")
    socket.connect(f"ipc://{programs.beside(order.path, ending)}")
    return socket


class Connection(Client):
    def __init__(self, order: Order) -> None:
        import zmq.asyncio

        self._order = order
        self._context = zmq.asyncio.Context
        self._sockets: dict[str, Any] = {}
        self._waiting: dict[bytes, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._tasks: list[asyncio.Task[None]] = []

    async def call(self, value: Any) -> Any:
        socket = self._sockets.get("ask")
        if socket is None:
            socket = self._open("DEALER", "ask")
            self._run(self._take_answers(socket))
        number = HEAD.pack(next(self._numbers))
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        await socket.send_multipart([number, encode(value)])
        return await future

    async def answer(self, take: Take) -> None:
        self._run(self._echo(self._open("DEALER", "answer")))
        self._run(self._take(self._open("PULL", "pull"), take))

    async def subscribe(self, take: Take) -> None:
        self._run(self._take(self._open("SUB", "subscribe"), take))
        await asyncio.sleep(SETTLING / self._order.count)

    async def send(self, value: Any, count: int) -> None:
        socket = self._sockets.get("push") or self._open("PUSH", "push")
        for _ in range(count):
            await socket.send(encode(value))

    async def publish(self, value: Any, count: int) -> None:
        socket = self._sockets.get("publish")
        if socket is None:
            socket = self._open("XPUB", "publish")
            # The subscription, without which it would send nothing.
            await socket.recv()
        for _ in range(count):
            await socket.send(encode(value))

    def _open(self, kind: str, ending: str) -> Any:
        socket = self._sockets[ending] = _socket(self._order, self._context, kind, ending)
        return socket

    def _run(self, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _take_answers(self, socket: Any) -> None:
        while True:
            number, body = await socket.recv_multipart()
            self._waiting.pop(number).set_result(decode(body))

    async def _echo(self, socket: Any) -> None:
        while True:
            *head, body = await socket.recv_multipart()
            await socket.send_multipart([*head, encode(decode(body))])

    async def _take(self, socket: Any, take: Take) -> None:
        while True:
            take(decode(await socket.recv()))


class BlockingConnection(BlockingClient):
    def __init__(self, order: Order) -> None:
        import zmq

        self._order = order
        self._context = zmq.Context
        self._numbers = itertools.count(1)
        if order.role == "drive":
            self._ask = self._open("DEALER", "ask")
            self._push = self._open("PUSH", "push")
        if "broadcast" in order.workloads:
            self._publish = self._open("XPUB", "publish")
            # The subscription, without which it would send nothing.
            self._publish.recv()

    def ask(self, value: Any) -> None:
        self._ask.send_multipart([HEAD.pack(next(self._numbers)), encode(value)])

    def reply(self) -> Any:
        return decode(self._ask.recv_multipart()[1])

    def answer(self, take: Take) -> None:
        socket = self._open("DEALER", "answer")
        threading.Thread(target=_take_all, args=(self._open("PULL", "pull"), take), daemon=True).start()
        common.ready()
        while True:
            *head, body = socket.recv_multipart()
            socket.send_multipart([*head, encode(decode(body))])

    def subscribe(self, take: Take) -> None:
        for _ in range(self._order.count):
            socket = self._open("SUB", "subscribe")
            threading.Thread(target=_take_all, args=(socket, take), daemon=True).start()
        time.sleep(SETTLING)
        common.ready()
        threading.Event().wait()

    def send(self, value: Any, count: int) -> None:
        for _ in range(count):
            self._push.send(encode(value))

    def publish(self, value: Any, count: int) -> None:
        for _ in range(count):
            self._publish.send(encode(value))

    def _open(self, kind: str, ending: str) -> Any:
        return _socket(self._order, self._context, kind, ending)


def _take_all(socket: Any, take: Take) -> None:
    while True:
        take(decode(socket.recv()))


class ZeroMq(AsyncPeer):
    name = "zmq"
    title = "ZeroMQ: proxies, zmq.asyncio"
    packages = ("zmq",)
    distributions = ("pyzmq",)

    def broker(self, order: Order) -> None:
        _broker(order)

    async def connect(self, order: Order) -> Client:
        return Connection(order)


class BlockingZeroMq(BlockingPeer):
    name = "zmq-blocking"
    title = "ZeroMQ: proxies, blocking clients"
    packages = ("zmq",)
    distributions = ("pyzmq",)

    def broker(self, order: Order) -> None:
        _broker(order)

    def connect(self, order: Order) -> BlockingClient:
        return BlockingConnection(order)


PEERS: Final[dict[str, Peer]] = {peer.name: peer for peer in (ZeroMq(), BlockingZeroMq())}
