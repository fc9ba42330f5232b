"""The renderer of the chaos run that has no loop: `mainbus.blocking`, in the same flows and under the same faults.

Run as a program: address, folder of ledgers, name, incarnation, number of renderers, seed, loop (which it ignores).
Its main thread sends; listeners run in the renderer's own second thread.
"""

from __future__ import annotations

import gc
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvloop
from mainbus import blocking
from mainbus.blocking import BlockingRenderer
from mainbus.errors import MainbusError, NameTaken

from tests.chaos.audit import MAIN
from tests.chaos.flow import CROWDED, PATIENCE, Numbers, give_port, ledger_of, note_events, open_files, say
from tests.chaos.ledger import Ledger

KINDS = ("send", "ask", "burst", "stream", "port", "sync")
MOODS = ((50, 20, 6, 4, 4, 2), (1, 75, 0, 4, 4, 2))
"""As those of the other kind."""


class Worker:
    """One renderer with its traffic; the arguments are those of the other kind."""

    def __init__(self, renderer: BlockingRenderer, ledger: Ledger, others: list[str], dice: random.Random) -> None:
        self.renderer = renderer
        self.ledger = ledger
        self.others = others
        self.dice = dice
        self.numbers = Numbers(ledger, dice)
        self.weights = dice.choice(MOODS)
        self._ports = 0
        self._listen()

    # What comes in

    def _listen(self) -> None:
        renderer, numbers = self.renderer, self.numbers

        def take(event: Any, who: str, number: int, payload: bytes) -> None:
            numbers.got(who, number, payload, event.sender_id)

        def ask(event: Any, who: str, number: int, payload: bytes) -> list[object]:
            numbers.got(who, number, payload, event.sender_id)
            return numbers.reply(who)

        renderer.on("flow", take, senders="any")
        renderer.on("port", lambda event, port: self._take_port(port, event.ports[0]))
        renderer.handle("count", count, senders="any")
        renderer.handle("flow", ask, senders="any")
        renderer.handle("slow", take, senders="any")
        note_events(renderer.events, self.ledger)

    def _take_port(self, name: str, port: blocking.MessagePort) -> None:
        port.on("message", lambda event: self.ledger.note("port", name, event.data))
        port.start()

    # What goes out

    def act(self) -> None:
        """Do one thing."""
        to = MAIN if self.dice.random() < 0.25 else self.dice.choice(self.others)
        match self.dice.choices(KINDS, self.weights)[0]:
            case "send":
                self.numbers.send_one(self.renderer, to)
            case "ask":
                self.ask(to, self.dice.choice(("flow", "slow")), self.dice.choice((0.05, 5.0)))
            case "burst":
                for _ in range(self.dice.randrange(100)):
                    self.numbers.send_one(self.renderer, to)
            case "stream":
                self._stream(to)
            case "port":
                self._give_port()
            case "sync" if self.renderer.is_connected:
                self.numbers.send(MAIN, "sync", lambda *args: self.renderer.send_sync("sync", *args, timeout=3))

    def ask(self, to: str, channel: str, timeout: float) -> None:
        """Ask for something and wait for the answer."""
        target = 0 if to == MAIN else to
        verb = self.renderer.invoke_to
        self.numbers.send(to, "sync", lambda *args: verb(target, channel, *args, timeout=timeout))

    def _stream(self, to: str) -> None:
        items, got, outcome = self.dice.randrange(100), 0, "ok"
        leave = self.dice.random() < 0.2
        size = self.dice.choice((0, 100, 10_000))
        try:
            with self.renderer.stream_to(0 if to == MAIN else to, "count", items, size, timeout=3.0) as stream:
                for number, payload in stream:
                    if number != got or payload != bytes((number % 256,)) * size:
                        self.ledger.note("wrong", f"item {number} of a stream from {to} where {got} was expected")
                    got += 1
                    if leave and got > items // 2:
                        outcome = "closed"
                        break
        except MainbusError as error:
            outcome = type(error).__name__
        self.ledger.note("stream", to, items, got, outcome)

    def _give_port(self) -> None:
        self._ports += 1
        name = f"{self.ledger.who}/{self._ports}"
        channel = blocking.MessageChannel()
        if not give_port(self.renderer, self.dice.choice(self.others), name, channel):
            return
        total = self.dice.randrange(1, 60)
        for number in range(total):
            self.ledger.note("posted", name, number)
            channel.port1.post_message(number)
        self.ledger.note("ended", name, total)
        channel.port1.close()

    # Life

    def work(self, words: Iterator[str | None]) -> None:
        """Do one thing after the other, and what one is told, until told to leave."""
        for word in words:
            match word:
                case None:
                    stats = self.renderer.stats()
                    if stats["queued"] + stats["held"] < CROWDED:
                        self.act()
                case "cut":
                    self._cut()
                    continue
                case "idle":
                    self._settle(lambda: any(self._left()))
                case "last":
                    self._last()
                case "leave":
                    return
            if word is not None:
                say(word)

    def _cut(self) -> None:
        """Lose the connection, with messages that are about to leave."""
        to = self.dice.choice(self.others)
        for _ in range(self.dice.randrange(200)):
            self.numbers.send_one(self.renderer, to)
        session = self.renderer._session
        if session is not None and (link := session.link) is not None:
            self.renderer._loop.post(link.abort)

    def _left(self) -> list[object]:
        stats = self.renderer.stats()
        return [stats["pending"], stats["streams"], not self.renderer.is_connected, *self._unheard()]

    def _unheard(self) -> list[int]:
        stats = self.renderer.stats()
        return [stats["waiting"], stats["running"]]

    def _settle(self, left: Callable[[], object]) -> None:
        give_up = time.monotonic() + PATIENCE
        while left():
            if time.monotonic() > give_up:
                self.ledger.note("wrong", f"has not come to rest: {self.renderer.stats()}")
                return
            time.sleep(0.02)

    def _last(self) -> None:
        for to in (MAIN, *self.others):
            self.numbers.send_one(self.renderer, to)
            self.ask(to, "flow", PATIENCE)
        self.renderer.invoke("last")

    def leave(self, files: set[str]) -> None:
        """Close, and see whether anything is left."""
        # An answer does not wait for the listeners of what came before it, and to close drops what they have not heard.
        self._settle(lambda: any(self._unheard()))
        self.renderer.close()
        gc.collect()
        threads = [thread.name for thread in threading.enumerate() if not thread.daemon]
        if left := [*threads[1:], *(open_files() - files)]:
            self.ledger.note("wrong", f"left behind: {left}")


def count(event: object, items: int, size: int) -> Iterator[list[object]]:
    """Stream numbers from 0."""
    for number in range(items):
        yield [number, bytes((number % 256,)) * size]


def words_of(words: queue.SimpleQueue[str], dice: random.Random) -> Iterator[str | None]:
    """Yield what is read from standard input; None when it is time to do something. From "idle" on only words."""
    busy = True
    while True:
        try:
            word = words.get(timeout=dice.expovariate(1 / 0.02) if busy else None)
        except queue.Empty:
            yield None
            continue
        busy = busy and word == "cut"
        yield word


def main() -> None:
    """Run one renderer."""
    address, folder, name, incarnation, number, seed = sys.argv[1:7]
    ledger = ledger_of(folder, f"{name}.{incarnation}")
    others = [f"r{other}" for other in range(int(number)) if f"r{other}" != name]
    dice = random.Random(f"{seed} {ledger.who}")
    words: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        for line in sys.stdin:
            words.put(line.strip())
        words.put("leave")

    threading.Thread(target=read, daemon=True).start()
    # What libuv opens with its first loop stays open.
    uvloop.new_event_loop().close()
    worker, files = opened(address, name, ledger, others, dice)
    say("ready")
    worker.work(words_of(words, dice))
    worker.leave(files)
    ledger.note("bye")
    say("left")


def opened(address: str, name: str, ledger: Ledger, others: list[str], dice: random.Random) -> tuple[Worker, set[str]]:
    """Connect: the former incarnation's name may not be free yet, the broker not back."""
    while True:
        files = open_files()
        renderer = blocking.connect(address, name=name, connect_timeout=PATIENCE)
        worker = Worker(renderer, ledger, others, dice)
        try:
            renderer.open()
        except (NameTaken, ConnectionError):
            time.sleep(0.05)
            continue
        return worker, files


if __name__ == "__main__":
    main()
