"""The peer that is always there: multiprocessing.connection, two processes, blocking, pickle, no broker."""

from __future__ import annotations

from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from threading import Thread
from typing import Any, Final

import common
from common import Order

from peers.base import BlockingClient, BlockingPeer, Peer, Take


class Driver(BlockingClient):
    """One connection for calls, one for one-way messages."""

    def __init__(self, path: str) -> None:
        self._calls = Client(path, "AF_UNIX")
        self._messages = Client(path, "AF_UNIX")

    def ask(self, value: Any) -> None:
        self._calls.send(value)

    def reply(self) -> Any:
        return self._calls.recv()

    def send(self, value: Any, count: int) -> None:
        for _ in range(count):
            self._messages.send(value)


class Answer(BlockingClient):
    """The end that listens."""

    def __init__(self, path: str) -> None:
        self._listener = Listener(path, "AF_UNIX")

    def ask(self, value: Any) -> None:
        raise NotImplementedError

    def reply(self) -> Any:
        raise NotImplementedError

    def answer(self, take: Take) -> None:
        common.ready()
        calls = self._listener.accept()
        Thread(target=_take, args=(self._listener.accept(), take), daemon=True).start()
        with suppress(EOFError):
            while True:
                calls.send(calls.recv())


def _take(messages: Connection[Any, Any], take: Take) -> None:
    with suppress(EOFError):
        while True:
            take(messages.recv())


class Pipes(BlockingPeer):
    name = "multiprocessing"
    title = "multiprocessing.connection, 2 processes"
    servers = ("answer",)
    workloads = frozenset({"latency", "in-flight", "one-way", "payload"})
    rival = False

    def connect(self, order: Order) -> BlockingClient:
        return Answer(order.path) if order.role == "answer" else Driver(order.path)


PEERS: Final[dict[str, Peer]] = {Pipes.name: Pipes()}
