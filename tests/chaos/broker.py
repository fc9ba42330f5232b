"""The main process of the chaos run: a broker that listens, answers, sends to its renderers and passes their ports on.

Run as a program: address, folder of ledgers, incarnation, number of renderers, seed, loop.
"""

from __future__ import annotations

import asyncio
import gc
import random
import sys
from dataclasses import replace
from typing import Any

from mainbus.errors import MainbusError
from mainbus_broker import Broker, Config, IpcMain, Limits, WebContents
from mainbus_broker.entrance import Entrance
from mainbus_broker.peer import Peer

from tests.chaos.audit import MAIN
from tests.chaos.flow import Numbers, commands, count, ledger_of, open_files, other_tasks, run, say, settled
from tests.chaos.ledger import Ledger
from tests.support.bus import check_empty

# Short, so that who is frozen or says nothing is thrown out within the run, and that ports become direct in it.
CONFIG = Config(
    limits=Limits(
        stall_timeout=2.0, handshake_timeout=1.0, message=2 * 1024 * 1024, hard=16 * 1024 * 1024, direct_after=1024
    )
)


class Main:
    """The application in the main process.

    Args:
        broker: Not yet started.
        ledger: Where everything is noted.
        names: The renderers' names.
        dice: What decides.
    """

    def __init__(self, broker: Broker, ledger: Ledger, names: list[str], dice: random.Random) -> None:
        self.broker = broker
        self.ledger = ledger
        self.names = names
        self.dice = dice
        self.numbers = Numbers(ledger, dice)
        self.stopping = False
        self._listen(broker.ipc_main)

    def _listen(self, ipc_main: IpcMain) -> None:
        numbers = self.numbers

        def send(event: Any, who: str, number: int, payload: bytes) -> None:
            numbers.got(who, number, payload, event.sender.id)

        def ask(event: Any, who: str, number: int, payload: bytes) -> list[object]:
            numbers.got(who, number, payload, event.sender.id)
            return numbers.reply(who)

        async def slow(event: Any, who: str, number: int, payload: bytes) -> None:
            numbers.got(who, number, payload, event.sender.id)
            await asyncio.sleep(number % 7 / 500)

        def sync(event: Any, who: str, number: int, payload: bytes) -> None:
            numbers.got(who, number, payload, event.sender.id)
            event.return_value = []

        ipc_main.on("flow", send)
        ipc_main.on("post", lambda event, args: send(event, *args))
        ipc_main.on("sync", sync)
        ipc_main.on("give", self._give)
        ipc_main.on("frame", lambda event, number: event.reply("framed", number))
        ipc_main.handle("flow", ask)
        ipc_main.handle("slow", slow)
        ipc_main.handle("count", count)
        ipc_main.handle("flush", lambda event: None)
        ipc_main.handle("last", lambda event: self._last(event.sender))

    def _give(self, event: Any, message: list[str]) -> None:
        to, name = message
        contents = self.broker.web_contents.from_name(to)
        try:
            if contents is not None:
                contents.post_message("port", name, event.ports)
        except MainbusError:
            contents = None
        if contents is None:
            for port in event.ports:
                port.close()

    def _last(self, contents: WebContents) -> None:
        assert contents.name is not None
        self.numbers.send(contents.name, "send", lambda *args: contents.send("flow", *args))

    async def traffic(self) -> None:
        """Send to whoever is there, until told to stop."""
        while not self.stopping:
            name = self.dice.choice(self.names)
            contents = self.broker.web_contents.from_name(name)
            if contents is not None:
                self._act(name, contents)
            await asyncio.sleep(self.dice.expovariate(1 / 0.005))

    def _act(self, name: str, contents: WebContents) -> None:
        if self.dice.random() < 0.3:
            timeout = self.dice.choice((None, 0.05))
            self.numbers.send(name, "ask", lambda *args: contents.invoke("flow", *args, timeout=timeout))
        else:
            self.numbers.send(name, "send", lambda *args: contents.send("flow", *args))

    async def leave(self, files: set[str]) -> None:
        """Stop when everybody is gone, and see whether anything is left."""

        def left() -> dict[str, object]:
            found: dict[str, object] = dict(self.broker.stats())
            kept = {what: found[what] for what in ("renderers", "pending_replies", "running", "queued")}
            kept["files"] = sorted(open_files() - files)
            return {what: value for what, value in kept.items() if value}

        self._report("before the stop", await settled(left))
        hub = self.broker._hub
        await self.broker.stop()
        assert hub is not None
        try:
            check_empty(hub, [])
        except AssertionError as error:
            self._report("in the registries", error)
        self._report("tasks", await settled(other_tasks))
        gc.collect()
        kinds = [type(one).__name__ for one in gc.get_objects() if isinstance(one, Peer | Entrance | WebContents)]
        self._report("objects", kinds)

    def _report(self, where: str, left: object) -> None:
        if left:
            self.ledger.note("wrong", f"left behind {where}: {left}".replace("\n", " "))


async def main() -> None:
    """Run one broker."""
    address, folder, incarnation, number, seed = sys.argv[1:6]
    ledger = ledger_of(folder, f"{MAIN}.{incarnation}")
    names = [f"r{name}" for name in range(int(number))]
    # One lets large messages pass in shared memory, the next one does not.
    broker = Broker(address, config=replace(CONFIG, shared_memory=bool(int(incarnation) % 2)))
    app = Main(broker, ledger, names, random.Random(f"{seed} {ledger.who}"))
    await broker.start()
    files = open_files()
    traffic = asyncio.create_task(app.traffic())
    say("ready")
    async for word in commands():
        if word == "idle":
            app.stopping = True
            await traffic
        elif word == "leave":
            await app.leave(files)
            ledger.note("bye")
        say(word if word != "leave" else "left")
        if word == "leave":
            break


if __name__ == "__main__":
    run(main, sys.argv[6])
