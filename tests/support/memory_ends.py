"""What the tests of the memory transport share: both ends of a connection, with protocols that note their calls."""

import asyncio
import contextvars
import threading
from collections.abc import Callable

from mainbus.transports.memory_link import Link
from mainbus.transports.memory_transport import MemoryTransport

variable = contextvars.ContextVar("variable", default="unset")


class Recorder(asyncio.Protocol):
    """Notes what is called on it, and in which thread."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.received = b""
        self.sizes: list[int] = []
        self.errors: list[Exception | None] = []
        self.threads: set[int] = set()
        self.seen: set[str] = set()
        self.half_open = False
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def note(self, event: str) -> None:
        self.events.append(event)
        self.threads.add(threading.get_ident())
        self.seen.add(variable.get())
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def until_lost(self) -> None:
        await self.until(lambda: "lost" in self.events)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.note("made")

    def data_received(self, data: bytes) -> None:
        assert type(data) is bytes
        self.received += data
        self.sizes.append(len(data))
        self.note("data")

    def eof_received(self) -> bool:
        self.note("eof")
        return self.half_open

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors.append(exc)
        self.note("lost")

    def pause_writing(self) -> None:
        self.note("pause")

    def resume_writing(self) -> None:
        self.note("resume")


Ends = tuple[MemoryTransport, Recorder, MemoryTransport, Recorder]


def make_pair(loop: asyncio.AbstractEventLoop | None = None) -> tuple[MemoryTransport, MemoryTransport]:
    there, back = Link(), Link()
    here = asyncio.get_running_loop()
    return MemoryTransport(here, back, there, "memory:"), MemoryTransport(loop or here, there, back, "memory:")


def make_ends() -> Ends:
    a, b = make_pair()
    one, other = Recorder(), Recorder()
    a.start(one)
    b.start(other)
    return a, one, b, other


async def finish(ends: Ends) -> None:
    """Abort what is open and check that each end was lost once, as its last event."""
    for transport in (ends[0], ends[2]):
        transport.abort()
    for recorder in (ends[1], ends[3]):
        await recorder.until_lost()
    await turns()
    for recorder in (ends[1], ends[3]):
        assert recorder.events.count("made") == recorder.events.count("lost") == 1
        assert (recorder.events[0], recorder.events[-1]) == ("made", "lost")


async def turns() -> None:
    """Let everything happen that is under way on this loop."""
    for _ in range(20):
        await asyncio.sleep(0)
