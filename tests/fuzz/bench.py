"""A broker with an honest renderer, and a stranger on the raw wire who says whatever the fuzzer makes up."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import mainbus
from mainbus import transports
from mainbus.address import Address
from mainbus.wire import clone, messages
from mainbus.wire.packets import HEADER, HEADER_SIZE
from mainbus_broker import Broker, Config, IpcMain, Limits

PATIENCE: Final = 5.0
"""Seconds in which the honest one must have been served."""

NAMES: Final = (b"", b"honest", b"nobody", b"\xff")
CHANNELS: Final = (b"", b"x", b"s", b"p", b"nobody", b"peers", b"status", b"\xff")
BODIES: Final = (b"", clone.encode([]), clone.encode([1]), b"\xff", b"\x81" * 600, b"\0\0\0\1\0\0\0\3\x81\1")

SIZE: Final = 9
"""Bytes of an input for each packet."""

LIMITS: Final = Limits(pending=20, running=10, streams=5, ports=30, frames=5, guests=5, unfinished=10, message=4096)


class Stranger(asyncio.Protocol):
    """The end of a connection that reads nothing of what it gets."""


class Bench:
    """All of it, on a loop of its own that runs only while an input is tried."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._faults: list[str] = []
        self._broker = Broker("memory:fuzz", ipc_main=_main(), config=Config(limits=LIMITS, cancel_grace=0.0))
        self._honest = mainbus.connect("memory:fuzz", name="honest")
        self._log = _Log(self._faults)

    def __enter__(self) -> Bench:
        """Start both; what they log is looked at, and shown to nobody."""
        for name in ("mainbus", "asyncio"):
            logger = logging.getLogger(name)
            logger.addHandler(self._log)
            logger.propagate = False
        self._loop.set_exception_handler(lambda loop, context: self._faults.append(repr(context)))
        self._loop.run_until_complete(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run_until_complete(self._close())
        self._loop.close()
        for name in ("mainbus", "asyncio"):
            logger = logging.getLogger(name)
            logger.removeHandler(self._log)
            logger.propagate = True

    def say(self, data: bytes) -> None:
        """Let a stranger say an input; everybody else must be served as before."""
        self._loop.run_until_complete(self._say(b"".join(packets(data))))
        faults, self._faults[:] = list(self._faults), []
        assert not faults, faults

    async def _open(self) -> None:
        await self._broker.start()
        _listen(self._honest.on, self._honest.handle, senders="any")
        _ = await self._honest

    async def _close(self) -> None:
        await self._honest.aclose()
        await self._broker.stop(drain=0)

    async def _say(self, data: bytes) -> None:
        transport, _ = await transports.connect(Address("memory", "fuzz"), Stranger)
        transport.write(messages.pack(messages.Hello()) + data)
        for _turn in range(8):
            await asyncio.sleep(0)
        transport.abort()
        async with asyncio.timeout(PATIENCE):
            await self._honest.invoke("x")
            await self._honest.invoke_to("honest", "x")
        assert self._honest.stats()["reconnects"] == 0, "the honest one was thrown out"
        stats = self._broker.stats()
        assert stats["renderers"] == 1, stats
        assert stats["pending_replies"] == 0, stats


def _main() -> IpcMain:
    ipc_main = IpcMain()
    _listen(ipc_main.on, ipc_main.handle)
    ipc_main.on("p", lambda event, *args: [port.close() for port in event.ports[::2]])
    return ipc_main


def _listen(on: Callable[..., Any], handle: Callable[..., Any], **options: Any) -> None:
    async def stream(event: object, *args: object) -> AsyncIterator[int]:
        for number in range(100):
            yield number

    async def slow(event: object, *args: object) -> None:
        await asyncio.sleep(0)

    on("x", lambda event, *args: None, **options)
    on("s", slow, **options)
    handle("x", lambda event, *args: args, **options)
    handle("s", stream, **options)
    handle("p", slow, **options)


class _Log(logging.Handler):
    """Keeps what was logged with an exception: a stranger's fault is worth a line, an exception is ours."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__()
        self._faults = faults

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info is not None else None
        # That one is the asker's: invoke where it should be stream.
        if error is not None and "ask with stream()" not in str(error):
            self._faults.append(self.format(record))


def packets(data: bytes) -> Iterator[bytes]:
    """Yield the packets that an input stands for: well-formed, so that they come further than to the scanner."""
    for at in range(0, len(data) - SIZE + 1, SIZE):
        kind, flags, peer, request, frame, value, name, channel, body = data[at : at + SIZE]
        parts = (NAMES[name % len(NAMES)], CHANNELS[channel % len(CHANNELS)], BODIES[body % len(BODIES)])
        lengths = (len(parts[0]), len(parts[1]))
        # Some larger numbers, too.
        amount = value if value < 200 else 1 << (value % 32)
        whole = HEADER_SIZE + sum(map(len, parts))
        yield HEADER.pack(whole, kind, flags, *lengths, peer, request, frame, amount) + b"".join(parts)
