"""The floors that the kernel sets: blocking sockets, raw bytes, no framing.

L0 is two processes: a client and an echo. L1 is three: a dumb forwarder stands between them. All messages of one
connection have the same size, which its first eight bytes say.
"""

from __future__ import annotations

import socket
from typing import ClassVar, Final

import common
from common import Order

from peers.base import BlockingClient, BlockingPeer, Peer, Take

SIZE: Final = 64
"""Bytes of a small message."""

CHUNK: Final = 256 * 1024
"""What the forwarder reads at most."""

_HEAD: Final = 8


class Ended(Exception):
    """The other end has closed the connection."""


class Raw(BlockingClient):
    """An end of a connection.

    Args:
        path: Where the other one listens, or, for the echo, where to listen.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._connection: socket.socket | None = None
        self._buffer = memoryview(b"")

    def prepare(self, size: int) -> bytes:
        """Connect anew, for messages of this size."""
        if self._connection is not None:
            self._connection.close()
        self._connection = _dial(self._path)
        self._connection.sendall(size.to_bytes(_HEAD))
        self._buffer = memoryview(bytearray(size))
        return bytes(size)

    def ask(self, value: object) -> None:
        if self._connection is None:
            self.prepare(SIZE)
        assert self._connection is not None
        self._connection.sendall(value if isinstance(value, bytes) else bytes(SIZE))

    def reply(self) -> memoryview:
        assert self._connection is not None
        _read(self._connection, self._buffer)
        return self._buffer

    def answer(self, take: Take) -> None:
        listener = _listen(self._path)
        common.ready()
        while True:
            connection, _ = listener.accept()
            buffer = memoryview(bytearray(int.from_bytes(connection.recv(_HEAD))))
            try:
                while True:
                    _read(connection, buffer)
                    connection.sendall(buffer)
            except (Ended, ConnectionError):
                connection.close()


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    return listener


def _dial(path: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    return connection


def _read(connection: socket.socket, buffer: memoryview) -> None:
    have = connection.recv_into(buffer)
    while 0 < have < len(buffer):
        got = connection.recv_into(buffer[have:])
        have = have + got if got else 0
    if not have:
        raise Ended


def _forward(source: socket.socket, target: socket.socket, count: int, buffer: memoryview) -> None:
    while count:
        got = source.recv_into(buffer)
        if not got:
            raise Ended
        target.sendall(buffer[:got])
        count -= got


class L0(BlockingPeer):
    name = "L0"
    title = "L0: blocking sockets, 2 processes"
    servers: ClassVar[tuple[str, ...]] = ("answer",)
    workloads = frozenset({"latency", "payload"})
    rival = False

    def connect(self, order: Order) -> BlockingClient:
        return Raw(order.path)


class L1(L0):
    name = "L1"
    title = "L1: blocking sockets and a forwarder, 3 processes"
    servers = ("broker", "answer")

    def connect(self, order: Order) -> BlockingClient:
        return Raw(_behind(order.path) if order.role == "answer" else order.path)

    def broker(self, order: Order) -> None:
        listener = _listen(order.path)
        common.ready()
        buffer = memoryview(bytearray(CHUNK))
        while True:
            front, _ = listener.accept()
            head = front.recv(_HEAD)
            back = _dial(_behind(order.path))
            back.sendall(head)
            size = int.from_bytes(head)
            try:
                while True:
                    _forward(front, back, size, buffer)
                    _forward(back, front, size, buffer)
            except (Ended, ConnectionError):
                front.close()
                back.close()


def _behind(path: str) -> str:
    return f"{path}.echo"


PEERS: Final[dict[str, Peer]] = {peer.name: peer for peer in (L0(), L1())}
