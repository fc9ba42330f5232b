"""The peer that is always there: multiprocessing.connection, two processes, blocking, pickle, no broker."""

from __future__ import annotations

from contextlib import suppress
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import common
from processes import Subject

ECHO = Subject("multiprocessing.connection, 2 processes", __file__, servers=("echo",))
ONE_WAY = Subject("multiprocessing.connection, 2 processes", __file__, servers=("sink",))


def _accept(order: common.Order) -> Connection[Any, Any]:
    listener = Listener(order.path, "AF_UNIX")
    common.ready()
    return listener.accept()


def echo(order: common.Order) -> None:
    connection = _accept(order)
    with suppress(EOFError):
        while True:
            connection.send(connection.recv())


def sink(order: common.Order) -> None:
    counter = common.Sink()
    connection = _accept(order)
    while connection.recv() is not None:
        counter.hit()
    counter.end()


def drive(order: common.Order) -> None:
    connection = Client(order.path, "AF_UNIX")

    def call() -> object:
        connection.send(common.PAYLOAD)
        return connection.recv()

    common.drive_blocking(order, call, lambda: connection.send(common.PAYLOAD), connection.recv)
    if order.workload == "one-way":
        connection.send(None)


if __name__ == "__main__":
    common.main({"echo": echo, "sink": sink, "drive": drive})
