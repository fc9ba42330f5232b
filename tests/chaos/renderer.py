"""The well-behaved renderer of the chaos run: it does everything at random, notes all of it, and keeps every rule.

Run as a program: address, folder of ledgers, name, incarnation, number of renderers, seed, loop.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Coroutine
from typing import Any

import mainbus
from mainbus import IpcRenderer
from mainbus.errors import MainbusError, NameTaken

from tests.chaos import companions
from tests.chaos.audit import MAIN
from tests.chaos.flow import (
    CROWDED,
    PATIENCE,
    Numbers,
    commands,
    count,
    give_port,
    ledger_of,
    note_events,
    open_files,
    other_tasks,
    run,
    say,
    settled,
)
from tests.chaos.ledger import Ledger

KINDS = ("send", "ask", "burst", "stream", "port", "frame", "guest", "sync")
MOODS = ((50, 25, 6, 4, 4, 2, 1, 1), (1, 74, 0, 4, 4, 2, 1, 1))
"""How often each is drawn: one life of a renderer does all, another one mostly asks and sends next to nothing."""


class Worker:
    """One renderer with its traffic.

    Args:
        address: Where the broker is.
        renderer: Not yet open.
        ledger: Where everything is noted.
        others: The names of the other renderers.
        dice: What decides.
    """

    def __init__(
        self, address: str, renderer: IpcRenderer, ledger: Ledger, others: list[str], dice: random.Random
    ) -> None:
        self.address = address
        self.renderer = renderer
        self.others = others
        self.dice = dice
        self.ledger = ledger
        self.numbers = Numbers(ledger, dice)
        self.stopping = False
        self.weights = dice.choice(MOODS)
        self.losses = 0
        """How often the connection was lost."""
        self.tasks: set[asyncio.Task[None]] = set()
        self._ports = 0
        self._listen()

    # What comes in

    def _listen(self) -> None:
        renderer, numbers = self.renderer, self.numbers

        def send(event: Any, who: str, number: int, payload: bytes) -> None:
            numbers.got(who, number, payload, event.sender_id)

        renderer.on("flow", send, senders="any")
        renderer.on("port", lambda event, port: self.start(self._take_port(port, event.ports[0])))
        renderer.handle("count", count, senders="any")

        def ask(event: Any, who: str, number: int, payload: bytes) -> list[object]:
            numbers.got(who, number, payload, event.sender_id)
            return numbers.reply(who)

        async def slow(event: Any, who: str, number: int, payload: bytes) -> None:
            numbers.got(who, number, payload, event.sender_id)
            await asyncio.sleep(number % 7 / 500)

        renderer.handle("flow", ask, senders="any")
        renderer.handle("slow", slow, senders="any")
        note_events(renderer.events, self.ledger)
        renderer.events.on("disconnected", self._lose)

    def _lose(self, *_: object) -> None:
        self.losses += 1

    async def _take_port(self, name: str, port: mainbus.MessagePort) -> None:
        async for event in port:
            self.ledger.note("port", name, event.data)

    # What goes out

    def act(self) -> None:
        """Do one thing."""
        to = MAIN if self.dice.random() < 0.25 else self.dice.choice(self.others)
        kind = self.dice.choices(KINDS, self.weights)[0]
        match kind:
            case "send":
                self.numbers.send_one(self.renderer, to)
            case "ask":
                self.ask(to)
            case "burst":
                for _ in range(self.dice.randrange(100)):
                    self.ask(to) if self.dice.random() < 0.2 else self.numbers.send_one(self.renderer, to)
            case "stream":
                self.start(self._stream(to))
            case "port":
                self.start(self._give_port())
            case "frame":
                self.start(companions.frame(self, to))
            case "guest":
                self.start(companions.guest(self))
            case "sync" if self.renderer.is_connected:
                self.numbers.send(MAIN, "sync", lambda *args: self.renderer.send_sync("sync", *args, timeout=3))

    def ask(self, to: str) -> Any:
        """Ask for something; now and then it is given up."""
        channel = "slow" if self.dice.random() < 0.3 else "flow"
        timeout = self.dice.choice((None, None, 0.05, 5.0))
        reply = self.numbers.send(to, "ask", lambda *args: self.invoke(to, channel, *args, timeout=timeout))
        if reply is not None and self.dice.random() < 0.05:
            asyncio.get_running_loop().call_later(self.dice.random() / 20, reply.cancel)
        return reply

    def invoke(self, to: str, channel: str, *args: object, timeout: float | None = None) -> Any:
        """Invoke a handler of a renderer or of the main process."""
        if to == MAIN:
            return self.renderer.invoke(channel, *args, timeout=timeout)
        return self.renderer.invoke_to(to, channel, *args, timeout=timeout)

    async def _stream(self, to: str) -> None:
        items, got, outcome = self.dice.randrange(100), 0, "ok"
        leave = self.dice.random() < 0.2
        size = self.dice.choice((0, 100, 10_000))
        try:
            async with self.renderer.stream_to(0 if to == MAIN else to, "count", items, size) as stream:
                async for number, payload in stream:
                    if number != got or payload != bytes((number % 256,)) * size:
                        self.ledger.note("wrong", f"item {number} of a stream from {to} where {got} was expected")
                    got += 1
                    if leave and got > items // 2:
                        outcome = "closed"
                        break
        except MainbusError as error:
            outcome = type(error).__name__
        self.ledger.note("stream", to, items, got, outcome)

    async def _give_port(self) -> None:
        self._ports += 1
        name = f"{self.ledger.who}/{self._ports}"
        channel = mainbus.MessageChannel()
        if not give_port(self.renderer, self.dice.choice(self.others), name, channel):
            return
        total = self.dice.randrange(1, 60)
        for number in range(total):
            self.ledger.note("posted", name, number)
            channel.port1.post_message(number)
            if self.dice.random() < 0.1:
                await asyncio.sleep(0.01)
        self.ledger.note("ended", name, total)
        channel.port1.close()

    # Life

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run something beside the rest."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.ledger.note("wrong", f"a task has raised {error!r}")

    async def traffic(self) -> None:
        """Do one thing after the other, until told to stop."""
        while not self.stopping:
            waiting = self.renderer.stats()
            if waiting["queued"] + waiting["held"] < CROWDED:
                self.act()
            await asyncio.sleep(self.dice.expovariate(1 / 0.02))

    def cut(self) -> None:
        """Lose the connection, with messages that are about to leave."""
        session = self.renderer._session
        if session is not None and session.link is not None:
            to = self.dice.choice(self.others)
            for _ in range(self.dice.randrange(200)):
                self.numbers.send_one(self.renderer, to)
            # Behind the write of this turn.
            asyncio.get_running_loop().call_soon(session.link.abort)

    async def idle(self) -> None:
        """Wait until all that was begun has ended."""
        self.stopping = True

        def left() -> bool:
            stats = self.renderer.stats()
            return bool(self.tasks or stats["pending"] or stats["streams"] or not self.renderer.is_connected)

        try:
            async with asyncio.timeout(PATIENCE):
                while left():  # noqa: ASYNC110 - what is waited for has no event of its own
                    await asyncio.sleep(0.02)
        except TimeoutError:
            self.ledger.note("wrong", f"has not come to rest: {self.renderer.stats()} {other_tasks()}")

    async def last(self) -> None:
        """Send the last messages: now everybody is there, and behind them nothing can be missing."""
        for to in (MAIN, *self.others):
            self.numbers.send_one(self.renderer, to)
            reply = self.numbers.send(to, "ask", lambda *args, to=to: self.invoke(to, "flow", *args, timeout=PATIENCE))
            try:
                await reply
            except MainbusError as error:
                self.ledger.note("wrong", f"the last ask of {to} has failed: {error}")
        await self.renderer.invoke("last")

    async def leave(self, files: set[str]) -> None:
        """Close, and see whether anything is left."""
        await self.idle()
        await self.renderer.aclose()
        if left := await settled(lambda: [*self.tasks, *(open_files() - files)]):
            self.ledger.note("wrong", f"left behind: {left}")


async def main() -> None:
    """Run one renderer."""
    address, folder, name, incarnation, number, seed = sys.argv[1:7]
    ledger = ledger_of(folder, f"{name}.{incarnation}")
    others = [f"r{other}" for other in range(int(number)) if f"r{other}" != name]
    renderer = await opened(address, name, ledger, others, random.Random(f"{seed} {ledger.who}"))
    worker, files = renderer
    say("ready")
    async for word in commands():
        match word:
            case "cut":
                worker.cut()
            case "idle":
                await worker.idle()
            case "last":
                await worker.last()
            case "leave":
                await worker.leave(files)
                if tasks := await settled(other_tasks):
                    ledger.note("wrong", f"tasks left behind: {tasks}")
                ledger.note("bye")
                say("left")
                break
        if word != "cut":
            say(word)


async def opened(
    address: str, name: str, ledger: Ledger, others: list[str], dice: random.Random
) -> tuple[Worker, set[str]]:
    """Connect: the former incarnation's name may not be free yet, the broker not back."""
    while True:
        files = open_files()
        renderer = mainbus.connect(address, name=name, connect_timeout=PATIENCE)
        worker = Worker(address, renderer, ledger, others, dice)
        try:
            _ = await renderer
        except (NameTaken, MainbusError) as error:
            if not isinstance(error, NameTaken | ConnectionError):
                raise
            await asyncio.sleep(0.05)
            continue
        worker.start(worker.traffic())
        return worker, files


if __name__ == "__main__":
    run(main, sys.argv[7])
