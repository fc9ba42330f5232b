"""RPyC: a threaded server on a Unix socket, two processes, no broker.

The dict travels as CBOR: by value, and not as a reference that asks back for each item.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import common
from common import Order

from peers import programs
from peers.base import BlockingClient, BlockingPeer, Peer, Take
from peers.codec import decode, encode

WINDOW: Final = 64
"""One-way messages without an answer: RPyC answers each, and who does not read the answers comes to a halt."""


class Driver(BlockingClient):
    def __init__(self, path: str) -> None:
        import rpyc
        from rpyc.utils.factory import unix_connect

        connection: Any = unix_connect(path, config={"sync_request_timeout": 60})
        # To name it each time would be a request each time.
        self._call = connection.root.echo
        self._echo = rpyc.async_(self._call)
        self._push = rpyc.async_(connection.root.push)
        self._asked: deque[Any] = deque()
        self._pushed: deque[Any] = deque()

    def call(self, value: Any) -> Any:
        return decode(self._call(encode(value)))

    def ask(self, value: Any) -> None:
        self._asked.append(self._echo(encode(value)))

    def reply(self) -> Any:
        return decode(self._asked.popleft().value)

    def send(self, value: Any, count: int) -> None:
        for _ in range(count):
            self._pushed.append(self._push(encode(value)))
            if len(self._pushed) >= WINDOW:
                self._pushed.popleft().wait()

    def flush(self) -> None:
        while self._pushed:
            self._pushed.popleft().wait()


class Answer(BlockingClient):
    def __init__(self, path: str) -> None:
        self._path = path

    def ask(self, value: Any) -> None:
        raise NotImplementedError

    def reply(self) -> Any:
        raise NotImplementedError

    def answer(self, take: Take) -> None:
        import rpyc
        from rpyc.utils.server import ThreadedServer

        class Service(rpyc.Service):  # type: ignore[misc, unused-ignore] # rpyc has no types
            def exposed_echo(self, body: bytes) -> bytes:
                return encode(decode(body))

            def exposed_push(self, body: bytes) -> None:
                take(decode(body))

        server = ThreadedServer(Service, socket_path=self._path, backlog=1024)
        common.ready()
        server.start()


class Rpyc(BlockingPeer):
    name = "rpyc"
    title = "RPyC, 2 processes"
    packages = ("rpyc",)
    distributions = ("rpyc",)
    servers = ("answer",)
    workloads = frozenset({"latency", "in-flight", "one-way", "payload"})
    rival = False

    def connect(self, order: Order) -> BlockingClient:
        if order.role == "answer":
            return Answer(order.path)
        programs.wait_for(lambda: programs.accepts(order.path))
        return Driver(order.path)


PEERS: Final[dict[str, Peer]] = {Rpyc.name: Rpyc()}
