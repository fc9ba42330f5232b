"""Common messages on direct ports take a compiled way where there is one; the same happens, whichever way they take."""

import asyncio
import datetime
import random
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mainbus import CloneError, SendQueueFull
from mainbus.direct_link import DirectLink
from mainbus.events import MessageEvent
from mainbus.port_core import MAX_UNSENT, TURN
from mainbus.port_end import End
from mainbus.port_remote import Remote
from mainbus.quick import COMPILED
from mainbus.wire import clone
from mainbus.wire.credit import WINDOW
from mainbus.wire.packets import MAX_FRAGMENT, Kind, build

from tests.support.bus import until, within
from tests.support.clones import COMMON, SHARED
from tests.support.sides import Side, bare, direct, pair

pytestmark = pytest.mark.contract("7.6")
quick = pytest.mark.skipif(not COMPILED, reason="nothing is compiled here, so there is one way only")

VALUES = [*COMMON, "x" * (MAX_FRAGMENT - 5), "x" * (MAX_FRAGMENT - 4), bytes(150_000)]


def switch_off(patch: pytest.MonkeyPatch) -> None:
    """Let everything go the way that takes everything."""
    patch.setattr("mainbus.direct_link.TAKER", None)
    patch.setattr(End, "post_quickly", lambda *_: False)
    patch.setattr(End, "dispatch_quickly", lambda *_: 0)
    patch.setattr(DirectLink, "post_held", lambda *_: 0)


def read(sock: socket.socket) -> bytes:
    """Return what has come."""
    sock.setblocking(False)
    found = b""
    while True:
        try:
            found += sock.recv(1 << 20)
        except BlockingIOError:
            return found


async def written(values: list[Any]) -> bytes:
    """Return the bytes that a port writes for some messages."""
    async with bare() as (side, other):
        found = b""
        for value in values:
            side.port.post_message(value)
            await asyncio.sleep(0)
            found += read(other)
        # A large one leaves in fragments, and more of them than the system takes at once.
        end = build(Kind.PORT_SWITCH)
        side.remote.leave_link()
        while not found.endswith(end):
            await asyncio.sleep(0)
            found += read(other)
        return found


@quick
async def test_the_same_is_written_whichever_way_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(len(clone.encode(value)) for value in VALUES[:-1]) < 2 * WINDOW
    for values in [VALUES[:8], *([value] for value in VALUES[8:])]:
        short = await written(values)
        with monkeypatch.context() as patch:
            switch_off(patch)
            assert await written(values) == short


def is_idle(side: Side) -> bool:
    """Whether all listeners have ended."""
    inbox = side.port.end._inbox if side.port.end is not None else None
    return inbox is not None and inbox.idle


class Scene:
    """One course of events: the same for the same seed.

    Args:
        seed: What chooses its steps.
    """

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.changes = random.Random(seed)
        self.heard: list[tuple[str, object]] = []
        self.others: list[Callable[..., object]] = []

    async def play(self) -> dict[str, Any]:
        """Return all that was noticed, by whom."""
        async with direct() as (a, b):
            a.take()
            self.listen(b)
            sent = [self.chance.choice([*VALUES, "listen", "stop"]) for _ in range(60)]
            for value in sent:
                a.port.post_message(value)
                if self.chance.random() < 0.1:
                    await asyncio.sleep(0)
            a.port.post_message("end")
            await until(lambda: "end" in a.got and is_idle(b))
            # What was not credited at one end was not taken at the other.
            await until(lambda: (a.link._used, b.link._used) == (b.link._untaken, a.link._untaken))
            assert b.port.end is not None
            return {
                "heard": self.heard,
                "echoed": a.got,
                "used": (a.link._used, b.link._used),
                "waiting": (b.port.end.size, b.port.end.apart, len(b.port.end.queue)),
            }

    def listen(self, side: Side) -> None:
        """Have listeners of every kind, which note what they are called with."""

        def note(event: MessageEvent) -> None:
            self.heard.append(("plain", event.data))
            assert event.ports == []
            side.port.post_message(event.data)
            self.change(side, event.data)

        async def slow(event: MessageEvent) -> None:
            self.heard.append(("slow", event.data))
            await asyncio.sleep(0)

        def late(event: MessageEvent) -> Awaitable[None]:
            self.heard.append(("late", event.data))
            return slow(event)

        def fail(event: MessageEvent) -> None:
            self.heard.append(("fail", event.data))
            raise ValueError("it had to be")

        self.others += [slow, late, fail]
        side.port.on("message", note)
        side.port.once("message", lambda event: self.heard.append(("once", event.data)))
        side.port.start()

    def change(self, side: Side, said: object) -> None:
        """Have another listener, or one fewer."""
        fn = self.changes.choice(self.others)
        if said == "listen":
            side.port.on("message", fn)
        elif said == "stop":
            side.port.off("message", fn)


@quick
@pytest.mark.contract("7.2", "2.20", "2.8")
@pytest.mark.parametrize("seed", range(4))
async def test_the_same_happens_whichever_way_it_goes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    short = await Scene(seed).play()
    switch_off(monkeypatch)
    assert await Scene(seed).play() == short
    assert short["waiting"] == (0, 0, 0)


@quick
async def test_the_common_message_takes_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    async with direct() as (a, b):
        a.take()
        b.port.on("message", lambda event: b.port.post_message(event.data))
        b.port.start()
        a.port.post_message("the first makes the inbox")
        await until(lambda: a.got)
        seen: list[str] = []

        def watch(kind: type, name: str) -> None:
            was = getattr(kind, name)

            def watched(*args: Any, **kwargs: Any) -> Any:
                seen.append(name)
                return was(*args, **kwargs)

            monkeypatch.setattr(kind, name, watched)

        for kind, name in [(Remote, "post"), (DirectLink, "post"), (DirectLink, "_take_in"), (End, "take")]:
            watch(kind, name)
        for number in range(3000):
            a.port.post_message({"number": number})
        await until(lambda: len(a.got) == 3001)
        assert a.got[1:] == [{"number": number} for number in range(3000)]
        assert seen == []
        a.port.post_message({1, 2})
        await until(lambda: len(a.got) == 3002)
        assert set(seen) == {"post", "_take_in", "take"}, "an unusual one is seen where it is handled"


@quick
async def test_what_is_unusual_or_wrong_is_left_alone() -> None:
    async with bare() as (side, other):
        end = side.port.end
        assert end is not None
        for value in (print, "\ud800", {1}, datetime.date(2020, 1, 1), "x" * MAX_FRAGMENT, SHARED * 2 + [SHARED] * 2):
            assert not end.post_quickly(value)
        await within(side.link.flushed())
        assert (side.link._used, read(other)) == (0, b"")
        with pytest.raises(CloneError, match=r"\(message: function\)"):
            side.port.post_message(lambda: None)
        assert end.post_quickly(1)
        side.remote.leave_link()
        assert not end.post_quickly(2)
        side.port.close()
        assert not end.post_quickly(3)


async def test_before_the_other_side_has_switched_nothing_is_written() -> None:
    async with pair() as (a, b):
        b.take()
        a.port.post_message(1)
        await within(a.link.flushed())
        assert (a.link._used, a.said) == (0, [])
        a.open()
        b.open()
        await until(lambda: b.got == [1])


@pytest.mark.contract("3.13")
async def test_a_direct_port_belongs_to_its_thread() -> None:
    async with direct() as (a, b):
        b.take()
        with pytest.raises(RuntimeError, match="this port belongs to the thread of its loop"):
            await asyncio.to_thread(a.port.post_message, 1)
        a.port.post_message(2)
        await until(lambda: b.got)
        assert b.got == [2]


def post_many(side: Side, value: object, count: int) -> None:
    for _ in range(count):
        side.port.post_message(value)


@pytest.mark.contract("9.2")
async def test_what_waits_for_credit_is_bounded() -> None:
    async with direct() as (a, b):
        text = "x" * (MAX_FRAGMENT - 100)
        with pytest.raises(SendQueueFull):
            post_many(a, text, (MAX_UNSENT + WINDOW) // len(text) + 2)
        assert b.port.end is not None
        assert b.port.end.size < 2 * WINDOW


@pytest.mark.contract("7.3")
async def test_a_listener_that_closes_the_port_still_gets_what_had_come() -> None:
    async with direct() as (a, b):
        b.port.on("message", lambda event: b.port.close() if event.data == 10 else None)
        b.take()
        for number in range(300):
            a.port.post_message(number)
        await until(lambda: b.closes)
        assert b.got == [*range(300)]
        assert b.closes == 1


async def test_a_turn_of_the_loop_has_so_many_messages() -> None:
    async with direct() as (a, b):
        b.take()
        a.port.post_message("first")
        await until(lambda: b.got)
        b.port.once("message", lambda event: asyncio.get_running_loop().call_soon(b.got.append, "turn"))
        for number in range(3 * TURN):
            a.port.post_message(number)
        await until(lambda: len(b.got) == 3 * TURN + 2)
        assert b.got.index("turn") == TURN + 1
        assert [each for each in b.got if each != "turn"] == ["first", *range(3 * TURN)]


async def test_what_one_turn_has_left_is_read_before_the_end() -> None:
    async with bare() as (side, other):
        other.sendall(b"".join(build(Kind.PORT_MESSAGE, body=clone.encode(number)) for number in range(3 * TURN)))
        other.close()
        await until(lambda: side.is_gone)
        assert side.got == [*range(3 * TURN)]
        assert not side.closes
