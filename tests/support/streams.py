"""Streams in the three directions that there are, and a generator that notes what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from mainbus import IpcRenderer, Stream
from mainbus.calls import Calls

from tests.support.bus import Bus, until

DIRECTIONS = ("to main", "from main", "between")


class Ways:
    """A handler of the channel "items" at one end, and streams of it at the other. Made by `ways`."""

    def __init__(self, bus: Bus, direction: str, consumer: IpcRenderer, producer: IpcRenderer) -> None:
        self.bus = bus
        self.direction = direction
        self.consumer = consumer
        self.producer = producer

    def handle(self, fn: Callable[..., Any], **options: Any) -> None:
        """Have the producing end answer "items" with this."""
        if self.direction == "to main":
            self.bus.ipc_main.handle("items", fn, replace=True, **options)
        else:
            self.producer.handle("items", fn, replace=True, senders="any", **options)

    def stream(self, *args: object, timeout: float | None = None) -> Stream:
        """Ask for it at the consuming end."""
        if self.direction == "to main":
            return self.consumer.stream("items", *args, timeout=timeout)
        if self.direction == "between":
            return self.consumer.stream_to("producer", "items", *args, timeout=timeout)
        return self.bus.contents(self.producer).stream("items", *args, timeout=timeout)

    async def invoke(self, *args: object) -> object:
        """Ask for it as if it were no stream."""
        if self.direction == "to main":
            return await self.consumer.invoke("items", *args)
        if self.direction == "between":
            return await self.consumer.invoke_to("producer", "items", *args)
        return await self.bus.contents(self.producer).invoke("items", *args)

    @property
    def calls(self) -> Calls:
        """What the consuming end awaits."""
        if self.direction == "from main":
            return self.bus.peer(self.producer).calls
        assert self.consumer._session is not None
        return self.consumer._session.calls

    @property
    def count(self) -> int:
        """Streams that anybody counts as open."""
        counts = (self.bus.broker.stats(), self.consumer.stats(), self.producer.stats())
        return sum(stats["streams"] for stats in counts)


async def ways(bus: Bus, direction: str) -> Ways:
    """Connect a consumer and a producer."""
    return Ways(bus, direction, await bus.renderer("consumer"), await bus.renderer("producer"))


async def collect(stream: Stream) -> list[Any]:
    """Return all items of a stream."""
    return [item async for item in stream]


async def is_over(way: Ways) -> None:
    """Wait until nobody counts a stream any more."""
    await until(lambda: not way.count and not len(way.calls))


class Source:
    """An async generator function that yields numbers (or what `make` makes of them) for ever, and notes its end."""

    def __init__(self, make: Callable[[int], object] = int, *, stop: int | None = None) -> None:
        self.made = 0
        """How many it has yielded, or is about to."""
        self.why: list[BaseException | None] = []
        """What has ended each of its generators."""
        self.ended = asyncio.Event()
        self.tasks: set[object] = set()
        """The tasks that have driven it."""
        self._make = make
        self._stop = stop

    async def __call__(self, event: Any) -> AsyncIterator[Any]:
        why: BaseException | None = None
        try:
            number = 0
            while number != self._stop:
                self.tasks.add(asyncio.current_task())
                self.made = number + 1
                yield self._make(number)
                number += 1
        except BaseException as error:
            why = error
            raise
        finally:
            self.tasks.add(asyncio.current_task())
            self.why.append(why)
            self.ended.set()
