"""Common messages take a compiled way where there is one; whichever way they take, the same happens, in order."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import mainbus
import mainbus_broker.peer
import mainbus_broker.router
import pytest
from mainbus import IpcRenderer, arrivals, leaving, outgoing
from mainbus.quick import COMPILED
from mainbus.session import Session
from mainbus_broker import IpcMain

from tests.support.bus import Bus, within
from tests.support.clones import COMMON

pytestmark = pytest.mark.skipif(not COMPILED, reason="nothing is compiled here, so there is one way only")

VALUES = [*COMMON, "x" * 150_000]
CHANNELS = ("plain", "two", "once", "typed", "raises", "late", "größe", "nobody")
HANDLERS = ("echo", "typed", "raises", "late", "slow", "uncloned", "once", "nobody")
STEPS = 120


def listen(to: Any, heard: list[Any], **options: Any) -> None:
    """Register listeners and handlers of every kind, which note what they are called with."""

    def note(what: str) -> Callable[..., None]:
        return lambda event, *args: heard.append((what, args))

    def typed(event: object, value: int) -> int:
        heard.append(("typed", value))
        return value

    def raises(event: object, *args: object) -> None:
        heard.append(("raises", args))
        raise ValueError("it had to be")

    async def slow(event: object, *args: object) -> object:
        heard.append(("slow", args))
        await asyncio.sleep(0)
        return args

    def late(event: object, *args: object) -> Awaitable[object]:
        heard.append(("late", args))
        return slow(event, *args)

    for channel in ("plain", "two", "größe"):
        to.on(channel, note(channel), **options)
    to.on("two", slow, **options)
    to.on("two", note("two, after a coroutine"), **options)
    to.once("once", note("once"), **options)
    for channel, fn in {"typed": typed, "raises": raises, "late": late}.items():
        to.on(channel, fn, **options)
        to.handle(channel, fn, **options)
    to.handle("slow", slow, **options)
    to.handle("echo", lambda event, *args: args, **options)
    to.handle("uncloned", lambda event, *args: heard, **options)
    to.handle("uncloned", lambda event, *args: print, replace=True, **options)
    to.handle_once("once", lambda event, *args: "once", **options)


class Scene:
    """One course of events: the same for the same seed.

    Args:
        bus: Where it takes place.
        seed: What chooses its steps.
    """

    def __init__(self, bus: Bus, seed: int) -> None:
        self.chance = random.Random(seed)
        self.bus = bus
        self.in_main: list[Any] = []
        self.in_other: list[Any] = []
        self.undeliverable: list[Any] = []
        self.replies: list[Any] = []

    async def play(self) -> dict[str, Any]:
        """Return all that was noticed, by whom."""
        one, other = await self.bus.renderer("one"), await self.bus.renderer("other")
        listen(self.bus.ipc_main, self.in_main)
        listen(other, self.in_other, senders="any")
        one.events.on("undeliverable", lambda *told: self.undeliverable.append(told))
        for _ in range(STEPS):
            self.step(one, other)
            if self.chance.random() < 0.2:
                await asyncio.sleep(0)
        outcomes = [await self.outcome(reply) for reply in self.replies]
        await self.bus.served(one)
        await self.bus.reached(other)
        await one.drain()
        return {
            "main": self.in_main,
            "other": self.in_other,
            "undeliverable": self.undeliverable,
            "outcomes": outcomes,
            "errors": [(str(error), channel, contents.name) for error, channel, contents in self.bus.errors],
            "stats": [one.stats(), other.stats()],
            "calls": [one._session.outbox.calls for one in (one, other) if one._session is not None],
            "unread": len(self.bus.hub.replies),
        }

    def step(self, one: IpcRenderer, other: IpcRenderer) -> None:
        """Let somebody say something."""
        args = self.chance.choices(VALUES, k=self.chance.choice([0, 1, 1, 1, 2]))
        channel, handler = self.chance.choice(CHANNELS), self.chance.choice(HANDLERS)
        target: Any = self.chance.choice(["other", other.id])
        timeout = self.chance.choice([None, None, 60.0])
        contents = self.bus.contents(other)
        match self.chance.randrange(7):
            case 0:
                one.send(channel, *args)
            case 1:
                one.send_to(target, channel, *args)
            case 2:
                one.broadcast(channel, *args)
            case 3:
                self.replies.append(one.invoke(handler, *args, timeout=timeout))
            case 4:
                self.replies.append(one.invoke_to(target, handler, *args, timeout=timeout))
            case 5:
                contents.send(channel, *args)
            case 6:
                self.replies.append(contents.invoke(handler, *args, timeout=timeout))

    async def outcome(self, reply: Awaitable[object]) -> object:
        """Return a result, or the text of an error."""
        try:
            return await within(reply)
        except mainbus.MainbusError as error:
            return type(error).__name__, str(error)


async def play(address: str, seed: int) -> dict[str, Any]:
    async with Bus(address, ipc_main=IpcMain()) as bus:
        return await Scene(bus, seed).play()


@pytest.mark.contract("2.19")
@pytest.mark.parametrize("seed", range(4))
async def test_the_same_happens_whichever_way_it_goes(address: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where a turn ends depends on what a packet counts as, and on that when a coroutine begins.
    monkeypatch.setattr(mainbus_broker.peer, "LONG_WAY", 1)
    quick = await play(address, seed)
    monkeypatch.setattr(arrivals, "COMPILED", False)
    monkeypatch.setattr(mainbus_broker.router, "COMPILED", False)
    monkeypatch.setattr(outgoing, "Leaving", leaving.Leaving)
    plain = await play(address, seed)
    assert quick == plain


async def test_the_common_message_takes_the_quick_way(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Bus(address) as bus:
        one, other = await bus.renderer("one"), await bus.renderer("other")
        heard: list[object] = []
        listen(bus.ipc_main, heard)
        listen(other, heard, senders="any")
        seen: list[int] = []

        async def talk() -> None:
            one.send("plain", VALUES[1])
            one.send_to("other", "plain", VALUES[1])
            assert await one.invoke("echo", 1) == [1]
            assert await one.invoke_to("other", "echo", 2) == [2]
            assert await bus.contents(other).invoke("echo", 3) == [3]

        def watch(serve: Callable[..., None], kind_at: int) -> Callable[..., None]:
            def watched(*packet: Any) -> None:
                seen.append(packet[kind_at][1])
                serve(*packet)

            return watched

        await talk()
        for renderer in (one, other):
            peer = bus.peer(renderer)
            peer.serve = watch(peer.serve, 1)
        monkeypatch.setattr(Session, "receive", watch(Session.receive, 1))
        await talk()
        assert seen == []
        await bus.contents(other).invoke("echo", VALUES[4])
        assert len(seen) == 2, "an unusual one is seen where it is handled, and so is its answer"


async def test_of_a_common_message_the_interpreter_sees_the_verb_alone(address: str) -> None:
    async with Bus(address) as bus:
        one, other = await bus.renderer("one"), await bus.renderer("other")
        heard: list[object] = []
        listen(bus.ipc_main, heard)
        listen(other, heard, senders="any")
        seen = Counter[str]()
        ours = tuple(str(Path(package.__file__ or "").parent) for package in (mainbus, mainbus_broker))

        def note(frame: FrameType, event: str, arg: object) -> None:
            if event == "call" and frame.f_code.co_filename.startswith(ours):
                seen[frame.f_code.co_qualname] += 1

        async def talk() -> None:
            one.send("plain", 1)
            one.send_to("other", "plain", 2)
            assert await one.invoke("echo", 3) == [3]
            assert await one.invoke_to("other", "echo", 4) == [4]

        await talk()
        sys.setprofile(note)
        try:
            for _ in range(20):
                await talk()
        finally:
            sys.setprofile(None)
        verbs = {f"Verbs.{verb}": 20 for verb in ("send", "send_to", "invoke", "invoke_to")}
        assert seen == {**verbs, "Verbs._invoke": 40}


@pytest.mark.contract("2.16", "2.17")
@pytest.mark.parametrize("scope", ["contents", "frame", "event"])
async def test_who_listens_beside_ipc_main_is_heard_from_then_on(address: str, scope: str) -> None:
    async with Bus(address) as bus:
        one, heard = await bus.renderer("one"), []
        bus.ipc_main.on("x", lambda event: heard.append("ipc_main"))
        one.send("x")
        await bus.served(one)
        contents = bus.contents(one)
        if scope == "contents":
            contents.ipc.on("x", lambda event: heard.append(scope))
        elif scope == "frame":
            contents.main_frame.ipc.on("x", lambda event: heard.append(scope))
        else:
            contents.on("ipc-message", lambda event, channel, *args: heard.append(scope))
        one.send("x")
        await bus.served(one)
        assert heard == ["ipc_main", scope, "ipc_main"]
