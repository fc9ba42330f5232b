"""Everything that ends a request, at once and in any order: each has one outcome, and nothing is left anywhere."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from mainbus import IpcRenderer, MainbusError
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, until, within

ENDS = ("cancel", "caller dies", "callee dies", "caller leaves", "callee leaves", "drain", "deadline", "answer")
SIZES = (0, 10, 300_000)
TIMEOUT = 0.001
REQUESTS = 6


class Scene:
    """A caller, a callee and the main process, with requests that wait, and what becomes of them.

    Args:
        bus: Where they are.
        chance: What decides.
        ends: What ends the requests.
    """

    def __init__(self, bus: Bus, chance: random.Random, ends: list[str]) -> None:
        self.bus = bus
        self.chance = chance
        self.ends = ends
        self.asked: list[asyncio.Future[Any]] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.caller: IpcRenderer
        self.callee: IpcRenderer
        self._may_answer = asyncio.Event()

    async def prepare(self) -> None:
        """Let everybody in, and register what waits."""
        reconnect = self.chance.random() < 0.5
        self.caller = await self.bus.renderer("caller", reconnect=reconnect)
        self.callee = await self.bus.renderer("callee", reconnect=reconnect)
        self.bus.ipc_main.handle("wait", self._wait)
        self.bus.ipc_main.handle("items", self._items)
        self.callee.handle("wait", self._wait, senders="any")
        self.callee.handle("items", self._items, senders="any")

    async def play(self) -> None:
        """Ask, and bring the ends, with few turns of the loop between any two of them."""
        contents = self.bus.contents(self.callee)
        for _ in range(REQUESTS):
            data = b"x" * self.chance.choice(SIZES)
            timeout = TIMEOUT if "deadline" in self.ends else None
            ask: Callable[..., Any] = self.chance.choice(
                (
                    lambda *args, **options: self.caller.invoke("wait", *args, **options),
                    lambda *args, **options: self.caller.invoke_to("callee", "wait", *args, **options),
                    lambda *args, **options: contents.invoke("wait", *args, **options),
                    lambda *args, **options: self._take(self.caller.stream("items", *args, **options)),
                    lambda *args, **options: self._take(self.caller.stream_to("callee", "items", *args, **options)),
                    lambda *args, **options: self._take(contents.stream("items", *args, **options)),
                )
            )
            self.asked.append(ask(data, timeout=timeout))
        for end in self.ends:
            for _ in range(self.chance.randrange(1, 4)):
                await asyncio.sleep(0)
            self._bring(end)
        self._may_answer.set()

    def _bring(self, end: str) -> None:
        loop = asyncio.get_running_loop()
        match end:
            case "cancel":
                for request in self.asked[::2]:
                    request.cancel()
            case "caller dies" | "callee dies":
                session = getattr(self, end.split()[0])._session
                if session.link is not None:
                    session.link.abort()
            case "caller leaves" | "callee leaves":
                self.tasks.append(loop.create_task(getattr(self, end.split()[0]).aclose()))
            case "drain":
                self.tasks.append(loop.create_task(self.bus.broker.stop(drain=self.chance.choice((0, 0.001)))))
            case "deadline":
                passed = loop.time() + TIMEOUT
                while loop.time() < passed:
                    pass
            case "answer":
                self._may_answer.set()

    @staticmethod
    def _take(stream: Any) -> asyncio.Future[Any]:
        async def take() -> None:
            async with stream:
                async for _ in stream:
                    pass

        return asyncio.ensure_future(take())

    async def _wait(self, event: object, data: bytes) -> bytes:
        await self._may_answer.wait()
        return data

    async def _items(self, event: object, data: bytes) -> AsyncIterator[bytes]:
        try:
            yield data
            await self._may_answer.wait()
            yield data
        finally:
            await asyncio.sleep(0)


@pytest.mark.contract("5.5", "5.7", "6.2", "9.1", "9.5", "9.8")
@pytest.mark.parametrize("seed", range(32))
async def test_whatever_ends_requests_together_each_has_one_outcome_and_nothing_is_left(
    address: str, seed: int
) -> None:
    chance = random.Random(seed)
    ends = chance.sample(ENDS, chance.randrange(1, len(ENDS)))
    # asyncio forgets to close a connection that it accepts as its server closes: none must come in then.
    config = Config(limits=Limits(running=REQUESTS // 2), shared_memory="drain" not in ends)
    # Its end looks into the broker's registries.
    async with Bus(address, config=config) as bus:
        scene = Scene(bus, chance, ends)
        await scene.prepare()
        await scene.play()
        await within(asyncio.gather(*scene.tasks))
    outcomes = await within(asyncio.gather(*scene.asked, return_exceptions=True))
    for outcome in outcomes:
        assert not isinstance(outcome, BaseException) or isinstance(outcome, MainbusError | asyncio.CancelledError)
    for renderer in (scene.caller, scene.callee):
        assert renderer._session is not None
        await until(lambda renderer=renderer: not renderer._arrivals.dispatch.tasks)  # type: ignore[misc]
        assert not len(renderer._session.calls)
        assert not renderer._session.pools.used
