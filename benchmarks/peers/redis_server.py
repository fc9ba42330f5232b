"""Redis: redis-server on a Unix socket, and redis-py with hiredis; publish and subscribe both ways.

A number before the payload says which call an answer belongs to. One-way messages leave in pipelines.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from common import Order

from peers import programs
from peers.base import AsyncPeer, Client, Peer, Take
from peers.codec import decode, encode

HEAD: Final = struct.Struct("<I")
PIPELINE: Final = 64
"""Commands that leave together."""


class Connection(Client):
    def __init__(self, path: str) -> None:
        from redis.asyncio import Redis

        self._redis: Any = Redis(unix_socket_path=path, max_connections=200)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)
        self._tasks: set[asyncio.Future[Any]] = set()

    async def hear_answers(self) -> None:
        await self._listen("answers", self._on_answer)

    async def call(self, value: Any) -> Any:
        number = next(self._numbers)
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        await self._redis.publish("echo", HEAD.pack(number) + encode(value))
        return await future

    async def answer(self, take: Take) -> None:
        def echo(data: bytes) -> None:
            answer = data[: HEAD.size] + encode(decode(data[HEAD.size :]))
            self._keep(asyncio.ensure_future(self._redis.publish("answers", answer)))

        await self._listen("echo", echo)
        await self.subscribe(take)

    async def subscribe(self, take: Take) -> None:
        await self._listen("message", lambda data: take(decode(data)))

    async def send(self, value: Any, count: int) -> None:
        for first in range(0, count, PIPELINE):
            pipeline = self._redis.pipeline(transaction=False)
            for _ in range(min(PIPELINE, count - first)):
                pipeline.publish("message", encode(value))
            await pipeline.execute()

    async def publish(self, value: Any, count: int) -> None:
        await self.send(value, count)

    def _on_answer(self, data: bytes) -> None:
        self._waiting.pop(HEAD.unpack_from(data)[0]).set_result(decode(data[HEAD.size :]))

    async def _listen(self, channel: str, callback: Callable[[bytes], object]) -> None:
        subscription = self._redis.pubsub(ignore_subscribe_messages=True)
        await subscription.subscribe(channel)
        await subscription.get_message(timeout=5)

        async def take() -> None:
            async for message in subscription.listen():
                callback(message["data"])

        self._keep(asyncio.ensure_future(take()))

    def _keep(self, task: asyncio.Future[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Redis(AsyncPeer):
    name = "redis"
    title = "Redis: redis-server, redis-py"
    packages = ("redis", "hiredis")
    programs = ("redis-server",)
    distributions = ("redis", "hiredis")

    def broker(self, order: Order) -> None:
        command = ["redis-server", "--port", "0", "--unixsocket", order.path, "--save", "", "--appendonly", "no"]
        command += ["--client-output-buffer-limit", "pubsub", "0", "0", "0", "--dir", str(Path(order.path).parent)]
        programs.serve(order, command, lambda: programs.accepts(order.path))

    async def connect(self, order: Order) -> Client:
        connection = Connection(order.path)
        if order.role == "drive":
            await connection.hear_answers()
        return connection


PEERS: Final[dict[str, Peer]] = {Redis.name: Redis()}
