"""The interface of a peer: what a file in this folder exports, and what its clients can do."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar, Final

import common
from common import Order, Role

WORKER: Final = str(Path(__file__).parents[1] / "worker.py")

Take = Callable[[Any], object]
"""What a sink does with one one-way message."""


class Client(ABC):
    """One connection of a peer with an event loop. A peer that lacks a workload leaves its methods out."""

    @abstractmethod
    def call(self, value: Any) -> Awaitable[Any]:
        """Ask the answering end, and return what it says: the same value."""

    async def answer(self, take: Take) -> None:
        """Be the answering end from now on: calls are echoed, one-way messages go to `take`."""
        raise NotImplementedError

    async def subscribe(self, take: Take) -> None:
        """Take what is published from now on."""
        raise NotImplementedError

    async def send(self, value: Any, count: int) -> None:
        """Send a one-way message so many times; returns when more may be sent."""
        raise NotImplementedError

    async def publish(self, value: Any, count: int) -> None:
        """Send a message to all that have subscribed, so many times; returns when more may be sent."""
        raise NotImplementedError

    async def flush(self) -> None:
        """Return when everything that was sent is on its way without this client's help."""
        return

    async def prepare(self, size: int) -> Any:
        """Return a payload of so many bytes, in the form that this peer carries bytes in."""
        return _payload(size)


class BlockingClient(ABC):
    """One connection of a peer without an event loop; the methods mean what those of `Client` do."""

    @abstractmethod
    def ask(self, value: Any) -> None:
        """Send a request."""

    @abstractmethod
    def reply(self) -> Any:
        """Wait for the answer to the oldest request."""

    def call(self, value: Any) -> Any:
        self.ask(value)
        return self.reply()

    def answer(self, take: Take) -> None:
        """Be the answering end, as long as the process lives; says when it is ready."""
        raise NotImplementedError

    def subscribe(self, take: Take) -> None:
        """Take what is published, as long as the process lives."""
        raise NotImplementedError

    def send(self, value: Any, count: int) -> None:
        raise NotImplementedError

    def publish(self, value: Any, count: int) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        return

    def prepare(self, size: int) -> Any:
        return _payload(size)


class Peer(ABC):
    """Something that is measured: how its processes are started, and what it can do."""

    name: ClassVar[str]
    """How `--peers` and the files of figures call it."""
    title: ClassVar[str]
    """How the tables call it."""
    packages: ClassVar[tuple[str, ...]] = ()
    """What its Python ends import."""
    programs: ClassVar[tuple[str, ...]] = ()
    """What it runs."""
    distributions: ClassVar[tuple[str, ...]] = ()
    """Whose versions are told."""
    servers: ClassVar[tuple[str, ...]] = ("broker", "answer")
    """Roles that are started one after the other before the driver; the last one answers."""
    workloads: ClassVar[frozenset[str]] = frozenset({"latency", "in-flight", "one-way", "broadcast", "payload"})
    """What it can do."""
    rival: ClassVar[bool] = True
    """Whether it counts as "the best peer": it has Python ends, and is neither ours nor a floor."""

    def missing(self) -> list[str]:
        """Return the packages and programs that this machine lacks for it."""
        packages = [name for name in self.packages if importlib.util.find_spec(name) is None]
        return packages + [name for name in self.programs if shutil.which(name) is None]

    def program_versions(self) -> dict[str, str]:
        """Return what each program says of its version."""
        return {name: _version(name) for name in self.programs}

    def can(self, workload: str) -> bool:
        return workload.partition(":")[0] in self.workloads

    def command(self, order: Order) -> list[str]:
        """Return the command line of a process with this order."""
        return [sys.executable, WORKER, self.name, order.to_json()]

    @abstractmethod
    def roles(self) -> dict[str, Role]:
        """Return what its processes do."""


class AsyncPeer(Peer):
    """A peer whose ends have an event loop."""

    @abstractmethod
    async def connect(self, order: Order) -> Client:
        """Connect one client; `order.role` says which end it will be."""

    def broker(self, order: Order) -> Any:
        """Be what stands between the ends, if something does."""
        raise NotImplementedError

    def roles(self) -> dict[str, Role]:
        return {
            "broker": self.broker,
            "answer": self._answer,
            "subscribe": self._subscribe,
            "idle": self._idle,
            "drive": self._drive,
        }

    async def _answer(self, order: Order) -> None:
        client = await self.connect(order)
        await client.answer(common.Sink().take)
        common.ready()
        await common.forever()

    async def _subscribe(self, order: Order) -> None:
        sink = common.Sink(order.count)
        clients = [await self.connect(order) for _ in range(order.count)]
        for client in clients:
            await client.subscribe(sink.take)
        common.ready()
        await common.forever()

    async def _idle(self, order: Order) -> None:
        from measuring import connect

        clients = await connect(lambda: self.connect(order), order.count)
        await common.forever()
        del clients

    async def _drive(self, order: Order) -> None:
        from measuring import drive

        client = await self.connect(order)
        common.ready()
        await drive(client, order)
        await common.forever()


class BlockingPeer(Peer):
    """A peer whose ends block."""

    @abstractmethod
    def connect(self, order: Order) -> BlockingClient:
        """Connect one client; `order.role` says which end it will be."""

    def broker(self, order: Order) -> None:
        """Be what stands between the ends, if something does."""
        raise NotImplementedError

    def roles(self) -> dict[str, Role]:
        return {
            "broker": self.broker,
            "answer": self._answer,
            "subscribe": self._subscribe,
            "drive": self._drive,
        }

    def _answer(self, order: Order) -> None:
        self.connect(order).answer(common.Sink().take)

    def _subscribe(self, order: Order) -> None:
        self.connect(order).subscribe(common.Sink(order.count).take)

    def _drive(self, order: Order) -> None:
        from measuring import drive_blocking

        client = self.connect(order)
        common.ready()
        drive_blocking(client, order)
        threading.Event().wait()


def _version(program: str) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, encoding="utf-8", check=False)
    found = re.search(r"\d+(\.\d+)+", said.stdout + said.stderr)
    return found[0] if found else "of an unknown version"


def _payload(size: int) -> bytes:
    return bytes(range(256)) * (size // 256) + bytes(size % 256)
