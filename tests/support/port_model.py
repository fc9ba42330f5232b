"""A random program of ports, and a model of what has to arrive where: for the tests that let mainbus prove it.

The owners are the main process and renderers, all on one loop; a handle is used by its owner alone, as in processes
of their own. An end has a number in the model, which travels with it, so that it is known again wherever it arrives.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from mainbus import IpcRenderer, MessageChannel
from mainbus.ports import MessagePort
from mainbus.testing import Bus

PATIENCE = 10.0 if sys.platform != "win32" else 60.0
STEPS = 80
LARGE = 3 * 1024 * 1024 + 1


class ModelEnd:
    """One end of a channel in the model."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.other: ModelEnd
        self.owner: Owner | None = None
        self.handle: MessagePort | None = None
        self.carrier: ModelEnd | None = None
        """The end that the message goes to with which it travels; None for one to an owner's channel."""
        self.started = False
        self.posted: list[int] = []
        """What was posted from here, wherever it was."""
        self.received: list[int] = []
        """What has arrived here, wherever it was."""
        self.closes = 0
        """How often an owner was told that the channel is closed."""
        self.closed = False
        """Whether an owner has closed or dropped it."""
        self.vanished = False
        """Whether its owner is gone."""
        self.between: list[Owner] = []
        """Who has sent it last, and who is to get it if that is known."""
        self.carriers: list[ModelEnd] = []
        """All ends that it has travelled to, in a message."""
        self.owners: list[Owner] = []
        """All that have had it."""

    @property
    def is_lost(self) -> bool:
        """Whether it was in a message that nobody got."""
        if self.handle is not None:
            return False
        if any(owner.is_gone for owner in self.between):
            return True
        # A message that its port's former owner had is lost with that one. If it is not, this end will have a handle.
        return self.carrier is not None and (self.carrier.is_gone or self.carrier.may_have_lost)

    @property
    def may_have_lost(self) -> bool:
        """Whether somebody is gone who had an end of its channel, by itself or in a message that was not taken."""
        found: set[ModelEnd] = set()
        todo = [self]
        while todo:
            end = todo.pop()
            if end not in found:
                found.add(end)
                todo += [end.other, *end.carriers]
        return any(owner.is_gone for end in found for owner in end.owners)

    @property
    def label(self) -> str:
        """The end as a problem names it."""
        path = " -> ".join(owner.name for owner in self.owners)
        return f"end {self.number} of {self.other.number} ({path}{' -> ?' if self.handle is None else ''})"

    @property
    def is_gone(self) -> bool:
        """Whether nobody will take anything from it any more."""
        return self.closed or self.vanished or self.is_lost


class Owner:
    """Somebody who has ports: the main process, or a renderer."""

    def __init__(self, name: str, renderer: IpcRenderer | None) -> None:
        self.name = name
        self.renderer = renderer
        self.ends: list[ModelEnd] = []
        self.is_gone = False


class World:
    """The model, the real thing, and the steps that both take.

    Args:
        bus: A broker, with nobody connected.
        random: What decides.
    """

    def __init__(self, bus: Bus, random: Random) -> None:
        self.bus = bus
        self.random = random
        self.ends: list[ModelEnd] = []
        self.main = Owner("main", None)
        self.owners = [self.main]
        self.sequence = 0
        self.problems: list[str] = []
        self.tasks: set[asyncio.Future[None]] = set()
        bus.ipc_main.on("port", lambda event, numbers: self._arrive(self.main, numbers, event.ports))

    async def connect(self, name: str) -> None:
        """Let another owner come."""
        renderer = await self.bus.connect(name, reconnect=False)
        owner = Owner(name, renderer)
        renderer.on("port", lambda event, numbers: self._arrive(owner, numbers, event.ports))
        self.owners.append(owner)

    # Steps

    async def step(self, *, leave: bool = False) -> None:
        """Take one step at random."""
        random = self.random
        steps: list[tuple[int, Callable[[], Any]]] = [
            (3, self._create),
            (14, self.post),
            (6, self._start),
            (5, self._send),
            (1, self._close),
            (1, self._drop),
        ]
        if leave:
            steps.append((1, self._leave))
        (_, step), *_ = random.choices(steps, [weight for weight, _ in steps])
        step()
        for _ in range(random.choice((0, 0, 0, 1, 2, 5, 20))):
            await asyncio.sleep(0)

    def _any_owner(self) -> Owner:
        return self.random.choice([owner for owner in self.owners if not owner.is_gone])

    def _any(self, owner: Owner | None = None) -> ModelEnd | None:
        found = [end for end in (owner or self._any_owner()).ends if not end.closed]
        return self.random.choice(found) if found else None

    def _create(self) -> None:
        owner, channel = self._any_owner(), MessageChannel()
        one, two = ModelEnd(len(self.ends)), ModelEnd(len(self.ends) + 1)
        one.other, two.other = two, one
        self.ends += [one, two]
        for end, port in ((one, channel.port1), (two, channel.port2)):
            self._own(owner, end, port)

    def _own(self, owner: Owner, end: ModelEnd, port: MessagePort) -> None:
        end.owner, end.handle, end.carrier, end.started = owner, port, None, False
        # It may have been read, and be dispatched, when its connection is gone.
        end.vanished = owner.is_gone
        end.owners.append(owner)
        owner.ends.append(end)

    def _arrive(self, owner: Owner, numbers: list[int], ports: list[MessagePort]) -> None:
        if len(numbers) != len(ports):
            self.problems.append(f"{len(ports)} ports for {numbers}")
        for number, port in zip(numbers, ports, strict=False):
            self._own(owner, self.ends[number], port)

    def _cargo(self, owner: Owner, source: ModelEnd | None = None) -> list[ModelEnd]:
        """Pick ends that may be transferred; often both of one channel."""
        found: list[ModelEnd] = []
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            end = self._any(owner)
            picked = [end, end.other] if end is not None and self.random.random() < 0.2 else [end]
            found += [
                each
                for each in picked
                if each is not None and each.owner is owner and each is not source and each not in found
            ]
        return [
            each
            for each in found
            if each.handle is not None and _may_leave(each.handle) and not (source and _would_be_a_ring(source, each))
        ]

    def _gone(self, cargo: list[ModelEnd], carrier: ModelEnd | None, target: Owner | None = None) -> None:
        for end in cargo:
            assert end.owner is not None
            end.owner.ends.remove(end)
            end.between = [each for each in (end.owner, target) if each is not None]
            end.owner = end.handle = None
            end.carrier = carrier
            if carrier is not None:
                end.carriers.append(carrier)

    def post(self) -> None:
        """Post on some port, one message or a row of them."""
        owner = self._any_owner()
        end = self._any(owner)
        if end is None or end.handle is None:
            return
        random = self.random
        for _ in range(random.choice((1, 1, 3, 10, 40))):
            cargo = self._cargo(owner, end) if random.random() < 0.15 else []
            size = random.choices((0, 1000, 100_000, 150_000, LARGE), (60, 20, 4, 2, 1))[0]
            self.sequence += 1
            numbers = [each.number for each in cargo]
            message = [self.sequence, numbers, bytes(size)]
            ports = [each.handle for each in cargo]
            end.handle.post_message(message, ports)
            if ports and ports[0] is not None and ports[0].end is not None:
                continue  # the channel is known to be closed, and so it did nothing
            del ports
            end.posted.append(self.sequence)
            self._gone(cargo, end.other)

    def _start(self) -> None:
        end = self._any()
        if end is not None and not end.started:
            self.start(end)

    def start(self, end: ModelEnd) -> None:
        """Start an end, and take its messages in one way or another."""
        port, owner = end.handle, end.owner
        assert port is not None
        assert owner is not None
        end.started = True
        port.on("close", lambda: self._closed(end))

        def take(event: Any) -> None:
            if end.handle is not port:
                self.problems.append(f"{end.label} received {event.data[0]} at {owner.name}, which has it no more")
            self._take(owner, end, event)
            if self.random.random() < 0.02 and end.handle is port and not end.closed:
                self._pass_on(owner, end)

        async def take_slowly(event: Any) -> None:
            # It may have been called just before the port was transferred.
            self._take(owner, end, event)
            await asyncio.sleep(0)

        way = self.random.choice(("plain", "coroutine", "iterate"))
        if way == "iterate":
            # Its handle is held by its end alone: a task that never runs again must not hold anything.
            task = asyncio.ensure_future(self._iterate(owner, end, port))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
            port.__aiter__()
        else:
            port.on("message", take if way == "plain" else take_slowly)
            port.start()

    async def _iterate(self, owner: Owner, end: ModelEnd, port: MessagePort) -> None:
        async for event in port:
            self._take(owner, end, event)
            # Until the next one comes, it would hold the ports that came with it.
            del event

    def _take(self, owner: Owner, end: ModelEnd, event: Any) -> None:
        sequence, numbers, _ = event.data
        end.received.append(sequence)
        self._arrive(owner, numbers, event.ports)

    def _closed(self, end: ModelEnd) -> None:
        end.closes += 1

    def _pass_on(self, owner: Owner, end: ModelEnd) -> None:
        assert end.handle is not None
        if not _may_leave(end.handle):
            return
        if owner.renderer is not None:
            owner.renderer.post_message("port", [end.number], [end.handle])
        else:
            target = self._any_owner()
            if target.renderer is None:
                return
            contents = self.bus.broker.web_contents.from_id(target.renderer.id)
            if contents is None:
                return
            contents.post_message("port", [end.number], [end.handle])
            self._gone([end], None, target)
            return
        self._gone([end], None)

    def _send(self) -> None:
        owner = self._any_owner()
        cargo = self._cargo(owner)
        ports = [each.handle for each in cargo]
        numbers = [each.number for each in cargo]
        if not ports:
            return
        if owner.renderer is not None:
            owner.renderer.post_message("port", numbers, ports)
        else:
            target = self._any_owner()
            if target.renderer is None:
                return
            contents = self.bus.broker.web_contents.from_id(target.renderer.id)
            assert contents is not None
            contents.post_message("port", numbers, ports)
            self._gone(cargo, None, target)
            return
        self._gone(cargo, None)

    def _close(self) -> None:
        end = self._any()
        if end is not None and end.handle is not None:
            end.closed = True
            end.handle.close()
            end.handle.close()

    def _drop(self) -> None:
        end = self._any()
        if end is not None and not end.started:
            assert end.owner is not None
            end.owner.ends.remove(end)
            end.closed = True
            end.owner = end.handle = None

    def _leave(self) -> None:
        owner = self._any_owner()
        if owner.renderer is None or sum(not each.is_gone for each in self.owners) < 3:
            return
        owner.is_gone = True
        for end in owner.ends:
            end.vanished = True
        session = owner.renderer._session
        assert session is not None
        assert session.link is not None
        session.link.abort()

    # The end

    async def finish(self) -> None:
        """Start all that is left, wait until nothing moves, and compare."""
        async with asyncio.timeout(PATIENCE):
            while not self.is_quiet():
                for end in [end for owner in self.owners if not owner.is_gone for end in owner.ends]:
                    if not end.started:
                        self.start(end)
                for _ in range(100):
                    await asyncio.sleep(0)
                gc.collect(0)
                await asyncio.sleep(0.001)

    def is_quiet(self) -> bool:
        """Whether all is as it has to be in the end."""
        return not self.wrong()

    def wrong(self) -> list[str]:
        """Return what is not as it has to be."""
        found = list(self.problems)
        for end in self.ends:
            expected = end.other.posted
            what = end.label
            if end.may_have_lost and not set(end.received) - set(expected) and end.received == sorted(end.received):
                expected = end.received
            if end.received != expected[: len(end.received)]:
                found.append(f"{what}: received {end.received}, posted were {expected}")
            if end.is_gone:
                continue
            if end.handle is None:
                found.append(f"{what}: has not arrived")
            elif len(end.received) < len(expected):
                found.append(f"{what}: misses {len(expected) - len(end.received)}")
            if end.closes != int(end.other.is_gone):
                found.append(
                    f"{what}: told {end.closes} times of the close; {end.other.label} is gone: {end.other.is_gone}"
                )
        return found

    def registries(self) -> dict[str, object]:
        """Return what the registries of the broker and of all owners hold."""
        hub = self.bus.broker._hub
        assert hub is not None
        held: dict[str, object] = {
            "main": dict(hub.main_ports.ports),
            "main's ends": dict(hub.main_ports._remotes),
            "main's parts": hub.main_ports._unfinished,
        }
        for peer in hub.renderers:
            held[f"broker's of {peer.name}"] = peer.ports.ports if peer.ports is not None else {}
        for owner in self.owners:
            if owner.renderer is not None:
                session = owner.renderer._session
                assert session is not None
                held[f"{owner.name}'s"] = dict(session.ports._remotes)
                held[f"{owner.name}'s leaving"] = session.ports._leaving
        return {what: value for what, value in held.items() if value}


async def play(
    world: World, *, leave: bool, steps: int = STEPS, between: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Run a random program, and fail if the real thing and the model differ, or anything is left.

    Args:
        world: A new one.
        leave: Whether renderers may be gone in the midst of it.
        between: Awaited after each step.
    """
    for name in ("a", "b", "c"):
        await world.connect(name)
    for _ in range(STEPS):
        await world.step(leave=leave)
        if between is not None:
            await between()
    try:
        await world.finish()
    except TimeoutError:
        for task in world.tasks:
            task.cancel()
        raise AssertionError("\n".join(world.wrong()[:20])) from None
    for owner in world.owners:
        for end in list(owner.ends):
            if end.handle is not None:
                end.handle.close()
    for _ in range(1000):
        for end in world.ends:
            # Nobody holds what waits in a port that was closed and never started, or arrives only now.
            end.handle = None
        await world.bus.settle()
        if not world.registries():
            break
        gc.collect()
        await asyncio.sleep(0.001)
    assert world.registries() == {}
    await asyncio.gather(*world.tasks)


def _would_be_a_ring(source: ModelEnd, cargo: ModelEnd) -> bool:
    """Whether each end would wait in a message for the other one: nobody would ever get them, nor be told."""
    end: ModelEnd | None = source.other
    while end is not None and end is not cargo:
        end = end.carrier if end.handle is None else None
    return end is not None


def _may_leave(port: MessagePort) -> bool:
    return port.end is not None and port.end.may_leave
