"""A bus that does what it is told, step by step, and a model of what the contract says comes of it.

Every step that waits for an answer compares it at once. What is sent one way is compared at the end, pair by pair: all
of it, once and in order, or a beginning of it where one of the two was lost meanwhile.
"""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import mainbus
from mainbus import ConnectionLost, InvokeTimeout, NameTaken, NoHandlerError, NoSuchRenderer, ReplyNeverSent
from mainbus.testing import broker
from mainbus_broker import Config
from mainbus_broker.config import Limits

MAIN = "main"
RUNNING = 4
CONFIG = Config(limits=Limits(running=RUNNING, high=16_384, low=4_096))
"""Little is enough, so that a few messages make everybody pause."""

LARGE = "x" * 2_000
PATIENCE = 10.0 if sys.platform != "win32" else 30.0
_TURNS = 64


class Call:
    """A call whose handler waits until it is told to answer."""

    def __init__(self, number: int, caller: str, callee: str, reply: Any) -> None:
        self.number = number
        self.caller = caller
        self.callee = callee
        self.reply = reply


class Program:
    """A renderer, and what the model knows of it."""

    def __init__(self, key: str, ipc_renderer: mainbus.IpcRenderer) -> None:
        self.key = key
        self.ipc_renderer = ipc_renderer
        self.handled = {"wait"}
        self.gate = asyncio.Event()
        self.gate.set()
        self.undeliverable: list[object] = []


class World:
    """One bus, and its model."""

    def __init__(self) -> None:
        self.programs: dict[str, Program] = {}
        self.calls: list[Call] = []
        self._number = 0
        self._answers: dict[int, asyncio.Event] = {}
        self._cancelled: list[int] = []
        self._sent: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._received: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._broadcasts: set[int] = set()
        self._lossy: set[tuple[str, str]] = set()
        """Pairs of which one was lost: what was on its way may be, too."""
        self._lives: dict[str, int] = defaultdict(int)
        self._stack = AsyncExitStack()

    async def open(self) -> None:
        """Start the broker and its main process."""
        self.bus = await self._stack.enter_async_context(broker(config=CONFIG))
        self.bus.ipc_main.handle("wait", self._wait)
        self.bus.ipc_main.handle("echo", lambda event, value: [MAIN, value])
        self.bus.ipc_main.on("note", lambda event, sender, number: self._received[sender, MAIN].append(number))

    async def close(self) -> None:
        """Let everything arrive, compare, and end."""
        for program in self.programs.values():
            program.gate.set()
        for call in list(self.calls):
            await self.answer(call)
        await self._until(lambda: all(self._is_whole(pair) for pair in self._sent))
        # Nothing comes twice.
        await self._within(self.bus.settle())
        for pair, sent in self._sent.items():
            received = self._expected(pair)
            assert received == sent[: len(received)], pair
            assert pair in self._lossy or received == sent, pair
        await self._within(self._stack.aclose())

    # Steps

    async def connect(self, key: str) -> None:
        """Connect under a name, which is refused while somebody has it."""
        if key in self.programs:
            try:
                _ = await self.bus.connect(key)
            except NameTaken:
                return
            raise AssertionError(f"{key} was connected twice")
        ipc_renderer = await self.bus.connect(key)
        program = self.programs[key] = Program(self._new_life(key), ipc_renderer)
        ipc_renderer.handle("wait", self._wait, senders="any")

        async def note(event: Any, sender: str, number: int, *_: object) -> None:
            self._received[sender, program.key].append(number)
            await program.gate.wait()

        ipc_renderer.on("note", note, senders="any")
        ipc_renderer.events.on("undeliverable", lambda *told: program.undeliverable.append(told[:2]))

    async def handle(self, key: str) -> None:
        """Register a handler, which is refused while there is one."""
        program = self.programs[key]
        try:
            program.ipc_renderer.handle("echo", lambda event, value: [key, value], senders="any")
        except ValueError as error:
            told = str(error)
        else:
            told = ""
        assert told == ("Attempted to register a second handler for 'echo'" if "echo" in program.handled else "")
        program.handled.add("echo")

    async def remove_handler(self, key: str) -> None:
        """Take a handler out."""
        self.programs[key].ipc_renderer.remove_handler("echo")
        self.programs[key].handled.discard("echo")

    async def send(self, source: str, target: str, count: int) -> None:
        """Send messages: to main, to a renderer or to a name that nobody has; or, from main, to a renderer."""
        for _ in range(count):
            if source == MAIN:
                contents = self.bus.broker.web_contents.from_name(target)
                if contents is None:
                    assert target not in self.programs
                    return
                contents.send("note", *self._note(MAIN, target), LARGE)
            elif target == MAIN:
                program = self.programs[source]
                program.ipc_renderer.send("note", *self._note(source, MAIN))
            elif target in self.programs:
                program = self.programs[source]
                program.ipc_renderer.send_to(target, "note", *self._note(source, target), LARGE)
            else:
                await self._send_to_nobody(self.programs[source], target)

    async def broadcast(self, source: str) -> None:
        """Send to all others."""
        self._number += 1
        self._broadcasts.add(self._number)
        program = self.programs[source]
        for target in self.programs.values():
            if target is not program:
                self._sent[program.key, target.key].append(self._number)
        program.ipc_renderer.broadcast("note", program.key, self._number)

    async def invoke(self, source: str, target: str) -> None:
        """Invoke, and compare the outcome."""
        self._number += 1
        ipc_renderer = self.programs[source].ipc_renderer
        call = ipc_renderer.invoke("echo", self._number) if target == MAIN else None
        call = call or ipc_renderer.invoke_to(target, "echo", self._number)
        try:
            assert await self._within(call) == [target, self._number]
        except NoHandlerError:
            assert "echo" not in self.programs[target].handled
        except NoSuchRenderer:
            assert target not in self.programs
        else:
            assert target == MAIN or "echo" in self.programs[target].handled

    async def call(self, source: str, target: str) -> None:
        """Invoke what waits for `answer`."""
        self._number += 1
        number = self._number
        self._answers[number] = asyncio.Event()
        ipc_renderer = self.programs[source].ipc_renderer
        if target == MAIN:
            reply = ipc_renderer.invoke("wait", number)
        else:
            reply = ipc_renderer.invoke_to(target, "wait", number)
        self.calls.append(Call(number, source, target, reply))
        await self.pump()

    async def answer(self, call: Call) -> None:
        """Let a handler answer."""
        self._answers[call.number].set()
        self.calls.remove(call)
        assert await self._within(call.reply) == call.number

    async def cancel(self, call: Call) -> None:
        """Cancel a call, and with it its handler, once."""
        call.reply.cancel()
        self.calls.remove(call)
        await self._until(lambda: self._cancelled.count(call.number) == 1)

    async def time_out(self, source: str, target: str) -> None:
        """Invoke what does not answer in time."""
        self._number += 1
        number = self._number
        self._answers[number] = asyncio.Event()
        ipc_renderer = self.programs[source].ipc_renderer
        call = ipc_renderer.invoke_to(0 if target == MAIN else target, "wait", number, timeout=0.02)
        try:
            await self._within(call)
        except InvokeTimeout:
            return
        raise AssertionError("a call without an answer was answered")

    async def lose(self, key: str, *, comes_back: bool) -> None:
        """Cut a renderer's connection; it comes back, or was killed."""
        program = self.programs[key]
        for pair in [*self._sent, *((program.key, other.key) for other in self.programs.values())]:
            if program.key in pair:
                self._lossy.add(pair)
        session = program.ipc_renderer._session
        assert session is not None
        assert session.link is not None
        assert session.link.transport is not None
        back = asyncio.Event()
        program.ipc_renderer.events.once("reconnected", lambda *_: back.set())
        number = program.ipc_renderer.id
        session.link.transport.abort()
        if comes_back:
            await self._within(back.wait())
            assert program.ipc_renderer.id > number
            program.key = self._new_life(key)
        else:
            await self._within(program.ipc_renderer.aclose())
            del self.programs[key]
            program.gate.set()
        await self._until(lambda: self.bus.broker.web_contents.from_id(number) is None)
        for call in [call for call in self.calls if key in (call.caller, call.callee)]:
            await self._is_lost(call, key)

    @staticmethod
    async def pump() -> None:
        """Let happen what can; `settle` would wait for those who take nothing."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    # Private

    async def _is_lost(self, call: Call, key: str) -> None:
        self.calls.remove(call)
        try:
            await self._within(call.reply)
        except ReplyNeverSent:
            assert call.callee == key
        except (ConnectionLost, mainbus.ObjectDestroyedError):
            assert call.caller == key
        else:
            raise AssertionError("a lost call was answered")
        if call.callee != key:
            await self._until(lambda: self._cancelled.count(call.number) == 1)

    async def _send_to_nobody(self, program: Program, target: str) -> None:
        before = len(program.undeliverable)
        program.ipc_renderer.send_to(target, "note", program.key, 0)
        await self._until(lambda: len(program.undeliverable) == before + 1)
        assert program.undeliverable[-1] == (target, "note")

    async def _wait(self, event: Any, number: int) -> int:
        try:
            await self._answers[number].wait()
        except asyncio.CancelledError:
            self._cancelled.append(number)
            raise
        return number

    def _note(self, source: str, target: str) -> tuple[str, int]:
        self._number += 1
        keys = [key if key == MAIN else self.programs[key].key for key in (source, target)]
        self._sent[keys[0], keys[1]].append(self._number)
        return keys[0], self._number

    def _new_life(self, key: str) -> str:
        self._lives[key] += 1
        return f"{key}{self._lives[key]}"

    def _expected(self, pair: tuple[str, str]) -> list[int]:
        """Return what has arrived, without broadcasts that were held by a pause until the receiver had come, too."""
        sent = self._sent[pair]
        return [number for number in self._received[pair] if number in sent or number not in self._broadcasts]

    def _is_whole(self, pair: tuple[str, str]) -> bool:
        return pair in self._lossy or len(self._expected(pair)) >= len(self._sent[pair])

    async def _until(self, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not done():
                await self.pump()

    @staticmethod
    async def _within(work: Any) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await work
