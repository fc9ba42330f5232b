"""What every well-behaved process does with numbered messages: number them, note them, look at them on arrival."""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from mainbus.errors import MainbusError
from mainbus.reply import Reply

from tests.chaos.audit import MAIN
from tests.chaos.ledger import Ledger
from tests.support import leaks

SIZES = (0, 10, 100, 1_000, 20_000)
LARGE = 300_000
"""More than one packet."""

CROWDED = 4 * 1024 * 1024
"""Bytes that wait to leave, above which a process adds none."""

PATIENCE = 60.0
"""Seconds in which everything has an end, once nothing goes wrong any more; frozen processes need some."""


class Numbers:
    """The numbered messages of one process.

    Args:
        ledger: Where they are noted.
        dice: Where sizes come from.
    """

    def __init__(self, ledger: Ledger, dice: random.Random) -> None:
        self._ledger = ledger
        self._dice = dice
        self._next: Counter[str] = Counter()
        self._replies: Counter[str] = Counter()

    def message(self, to: str, kind: str) -> tuple[int, list[object]]:
        """Note a message that is about to be sent; returns its number and arguments."""
        number = self._next[to]
        self._next[to] += 1
        size = LARGE if self._dice.random() < 0.003 else self._dice.choice(SIZES)
        self._ledger.note("sent", to, number, kind)
        return number, [self._ledger.who, number, bytes((number % 256,)) * size]

    def send(self, to: str, kind: str, verb: Callable[..., Any]) -> Any:
        """Number a message and give its arguments to a verb; None if that has raised."""
        number, args = self.message(to, kind)
        try:
            result = verb(*args)
        except MainbusError as error:
            if kind == "sync":
                # It may have arrived: a sync is a request.
                self._ledger.note("end", to, number, type(error).__name__)
            else:
                self._ledger.note("unsent", to, number)
            return None
        if kind == "sync":
            self._answered(to, number, result)
        elif isinstance(result, Reply):
            result.add_done_callback(lambda reply: self._ended(to, number, reply))
        return result

    def got(self, who: str, number: int, payload: bytes, place: int) -> None:
        """Note what has arrived."""
        self._ledger.note("got", who, number, place)
        if payload.strip(bytes((number % 256,))):
            self._ledger.note("wrong", f"number {number} of {who} is not what was sent")

    def reply(self, who: str) -> list[object]:
        """Return the answer to a request, numbered."""
        self._replies[who] += 1
        return [self._ledger.who, self._replies[who]]

    def send_one(self, end: Any, to: str) -> None:
        """Send one message through a renderer or a frame of it, with or without a loop: it is the same flow."""
        if to != MAIN:
            self.send(to, "send", lambda *args: end.send_to(to, "flow", *args))
        elif self._dice.random() < 0.3:
            self.send(to, "post", lambda *args: end.post_message("post", list(args)))
        else:
            self.send(to, "send", lambda *args: end.send("flow", *args))

    # Private

    def _ended(self, to: str, number: int, reply: asyncio.Future[Any]) -> None:
        if reply.cancelled():
            self._ledger.note("end", to, number, "cancelled")
        elif (error := reply.exception()) is None:
            self._answered(to, number, reply.result())
        else:
            self._ledger.note("end", to, number, type(error).__name__)
            if not isinstance(error, MainbusError):
                self._ledger.note("wrong", f"{number} to {to} was answered with {error!r}")

    def _answered(self, to: str, number: int, result: list[Any]) -> None:
        self._ledger.note("end", to, number, "ok")
        if result:
            self._ledger.note("reply", *result)


def note_events(events: Any, ledger: Ledger) -> None:
    """Note what happens to a renderer's connection, and what could not be delivered."""
    for event in ("gap", "reconnected", "disconnected"):
        events.on(event, lambda *reason, event=event: ledger.note("told", event, *reason))
    events.on("undeliverable", lambda target, *_: ledger.note("undeliverable", target))


def give_port(renderer: Any, to: str, name: str, channel: Any) -> bool:
    """Have the main process pass one end of a channel on; False, with the other end closed, if it cannot be sent."""
    try:
        renderer.post_message("give", [to, name], [channel.port2])
    except MainbusError:
        channel.port1.close()
        return False
    return True


async def count(event: object, items: int, size: int) -> AsyncIterator[list[object]]:
    """Stream numbers from 0."""
    for number in range(items):
        yield [number, bytes((number % 256,)) * size]
        if not number % 16:
            await asyncio.sleep(0)


async def commands() -> AsyncIterator[str]:
    """Yield the lines of standard input: one word each."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    try:
        while line := await reader.readline():
            yield line.decode().strip()
    finally:
        transport.close()


def say(word: str) -> None:
    """Tell the runner."""
    print(word, flush=True)


def run(main: Callable[[], Any], loop: str) -> None:
    """Run a program on "asyncio" or "uvloop"."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    gc.freeze()
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())


def open_files() -> set[str]:
    """Return this process' descriptors, where the system tells."""
    # libuv keeps one on /dev/null, from its first stream on.
    return {f"{number} {kind}" for number, kind in leaks.open_files() if kind != "/dev/null"}


async def settled(look: Callable[[], object]) -> object:
    """Return what is left when it has had time to go."""
    loop = asyncio.get_running_loop()
    give_up = loop.time() + 10.0
    while (left := look()) and loop.time() < give_up:  # noqa: ASYNC110 - nobody tells when a descriptor is closed
        await asyncio.sleep(0.02)
    return left


def other_tasks() -> list[str]:
    """Return the tasks of this loop but the one that asks."""
    return [str(task.get_coro()) for task in asyncio.all_tasks() if task is not asyncio.current_task()]


def ledger_of(folder: str, who: str) -> Ledger:
    """Return the ledger of a process in a run's folder."""
    return Ledger(Path(folder) / f"{who}.ledger", who)
