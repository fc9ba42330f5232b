"""NATS: nats-server on loopback TCP, as it has no Unix sockets, and nats-py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from common import Order

from peers import programs
from peers.base import AsyncPeer, Client, Peer, Take
from peers.codec import decode, encode

CONFIGURATION: Final = """\
listen: "127.0.0.1:-1"
ports_file_dir: "{folder}"
max_payload: 64MB
max_pending: 1GB
"""


class Connection(Client):
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def call(self, value: Any) -> Any:
        return decode((await self._connection.request("echo", encode(value), timeout=60)).data)

    async def answer(self, take: Take) -> None:
        async def echo(message: Any) -> None:
            await message.respond(encode(decode(message.data)))

        await self._listen("echo", echo)
        await self.subscribe(take)

    async def subscribe(self, take: Take) -> None:
        async def message(message: Any) -> None:
            take(decode(message.data))

        await self._listen("message", message)

    async def send(self, value: Any, count: int) -> None:
        for _ in range(count):
            await self._connection.publish("message", encode(value))

    async def publish(self, value: Any, count: int) -> None:
        await self.send(value, count)

    async def flush(self) -> None:
        await self._connection.flush(timeout=60)

    async def _listen(self, subject: str, callback: Callable[[Any], Any]) -> None:
        # Nobody is dropped for being slow: all that is sent is to be counted.
        await self._connection.subscribe(subject, cb=callback, pending_msgs_limit=0, pending_bytes_limit=1 << 32)
        await self._connection.flush()


class Nats(AsyncPeer):
    name = "nats"
    title = "NATS: nats-server, nats-py"
    packages = ("nats",)
    programs = ("nats-server",)
    distributions = ("nats-py",)
    workloads = frozenset({"latency", "in-flight", "one-way", "broadcast", "payload", "connect"})

    def broker(self, order: Order) -> None:
        folder = Path(order.path).parent
        configuration = programs.beside(order.path, "conf")
        configuration.write_text(CONFIGURATION.format(folder=folder))

        def is_up() -> bool:
            return bool(_address(order))

        programs.serve(order, ["nats-server", "-c", str(configuration)], is_up)

    async def connect(self, order: Order) -> Client:
        import nats

        return Connection(await nats.connect(_address(order), allow_reconnect=False, connect_timeout=20))


def _address(order: Order) -> str:
    """Return where the server listens: it picks a free port and writes that into a file."""
    for path in Path(order.path).parent.glob("*.ports"):
        try:
            return str(json.loads(path.read_text())["nats"][0])
        except ValueError:
            pass  # half written
    return ""


PEERS: Final[dict[str, Peer]] = {Nats.name: Nats()}
