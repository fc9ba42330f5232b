"""The broker's end of a lane: what comes first counts, whichever way, nothing overtakes, and it waits for room."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import cbor2
import mainbus
import pytest
from mainbus_broker import Config, IpcMain
from mainbus_broker.config import Limits
from mainbus_broker.lane_end import LaneEnd

from tests.support import bare
from tests.support import raw as wire
from tests.support.bus import Bus, until
from tests.support.raw import Packet, Raw, args, raw

pytestmark = pytest.mark.contract("3.5")


class Main:
    """A main process that notes what starts there, in order."""

    def __init__(self) -> None:
        self.got: list[object] = []
        self.events: list[Any] = []
        self.gate = asyncio.Event()
        self.ipc = IpcMain()
        self.ipc.on("c", lambda event, value: self.got.append(value))
        self.ipc.on("sync", self._sync)
        self.ipc.on("later", lambda event, value: self.events.append(event))
        self.ipc.on("slow", self._slow)
        self.ipc.handle("slow", self._slow)

    def _sync(self, event: Any, value: object) -> None:
        self.got.append(value)
        event.return_value = value

    async def _slow(self, event: Any, value: object) -> None:
        self.got.append(value)
        await self.gate.wait()


@asynccontextmanager
async def lane(address: str, owner: Raw, nonce: bytes | None = None) -> AsyncIterator[Raw]:
    """Open a lane of a renderer."""
    opened = Raw(*await bare.connect(address))
    try:
        said = {"id": owner.id, "nonce": nonce or owner.welcome["lane"]}
        opened.write(Packet(wire.LANE, body=cbor2.dumps(said)))
        answer = await opened.next(wire.LANE)
        opened.welcome = answer.said
        yield opened
    finally:
        await opened.close()


def end(bus: Bus, owner: Raw) -> LaneEnd:
    """The broker's end of a renderer's lane."""
    found = bus.hub.renderers.ids[owner.id].lane
    assert found is not None
    return found


def send(value: object, channel: bytes = b"c", **fields: Any) -> Packet:
    return Packet(wire.SEND, channel=channel, body=args(value), **fields)


def sync(value: object, request: int = 1, channel: bytes = b"sync", **fields: Any) -> Packet:
    return Packet(wire.SYNC, request=request, channel=channel, body=args(value), **fields)


def repeat(first: int, count: int = 0) -> Packet:
    """The next packets are those that the main connection numbers from `first`."""
    return Packet(wire.REPEAT, value=first, request=count)


def once(number: int) -> Packet:
    return Packet(wire.ONCE, value=number)


async def test_a_call_is_served_and_answered_on_its_lane(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner, lane(address, owner) as own:
        own.write(repeat(2), sync("a"))
        answer = await own.next(wire.RESULT)
        assert (answer.request, answer.said) == (1, "a")
        own.write(repeat(2), sync("b", 2, b"nobody"))
        error = await own.next(wire.ERROR)
        assert (error.request, error.value) == (2, mainbus.ReplyNeverSent.wire_code)
        own.write(repeat(2), sync("c", 3)._replace(body=b"\xff"))
        assert (await own.next(wire.ERROR)).value == mainbus.BadMessage.wire_code
        assert main.got == ["a"]


async def test_a_call_waits_for_what_was_sent_before_it_on_the_main_connection(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc) as bus, raw(address) as owner, lane(address, owner) as own:
        # The hello was the first packet; three more are on their way.
        own.write(repeat(5), sync("call"))
        await until(lambda: end(bus, owner)._next == 5)
        owner.write(send(2), send(3))
        assert await owner.is_served()
        assert (await own.next(wire.RESULT)).said == "call"
        assert main.got == [2, 3, "call"]


async def test_what_comes_both_ways_is_served_once(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner, lane(address, owner) as own:
        owner.write(send(2))
        own.write(repeat(3, 2), send(3), send(4), sync("call"))
        await own.next(wire.RESULT)
        owner.write(send(3), send(4), send(5))
        assert await owner.is_served()
        assert main.got == [2, 3, 4, "call", 5]
        # The other way round: the main connection was faster. That question was number 6.
        owner.write(send(7), send(8))
        assert await owner.is_served()
        own.write(repeat(7, 2), send(7), send(8), sync("call", 2))
        await own.next(wire.RESULT)
        assert main.got == [2, 3, 4, "call", 5, 7, 8, "call"]


async def test_a_fragment_may_come_on_either(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner, lane(address, owner) as own:
        parts = wire.fragments(send("x" * 50), 10)
        owner.write(*parts[:2])
        own.write(repeat(3, 3), *parts[1:4], once(1), parts[4], once(2), parts[5])
        own.write(*wire.fragments(sync("y" * 50), 20))
        await own.next(wire.RESULT)
        owner.write(*parts[2:4], send("last"))
        assert await owner.is_served()
        assert main.got == ["x" * 50, "y" * 50, "last"]


# Once.


async def test_what_was_given_up_on_a_lane_comes_on_the_main_connection(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner:
        async with lane(address, owner) as own:
            own.write(repeat(2), once(1), send("held"), once(2), sync("call"))
            await own.next(wire.RESULT)
        owner.write(once(1), send("held"), once(2), sync("call"), once(3), send("new"), send("last"))
        assert await owner.is_served()
        assert main.got == ["held", "call", "new", "last"]


async def test_what_the_main_connection_has_brought_is_dropped_on_the_lane(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc) as bus, raw(address) as owner, lane(address, owner) as own:
        # The lane stands still until the main connection has brought its numbers up to 4.
        own.write(repeat(5), once(1), send("held"), once(2), sync("call"), once(3), send("new"))
        await until(lambda: end(bus, owner)._wire.backlog)
        owner.write(once(1), send("held"), once(2), sync("call"))
        assert await owner.is_served()
        await until(lambda: "new" in main.got)
        assert main.got == ["held", "call", "new"]


async def test_a_once_may_be_repeated(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner:
        async with lane(address, owner) as own:
            own.write(repeat(2), once(1), send("a"), once(2), sync("call"))
            await own.next(wire.RESULT)
            nonce = own.welcome["nonce"]
        # Given up nevertheless, said again on the main connection, and repeated from there by the next lane.
        again = (once(1), send("a"), once(2), sync("call"), once(3), send("b"), send("c"))
        async with lane(address, owner, nonce) as own:
            own.write(repeat(2, 4), *again, sync("d", 2))
            await own.next(wire.RESULT)
            owner.write(*again, send("e"))
            assert await owner.is_served()
            assert main.got == ["a", "call", "b", "c", "d", "e"]


async def test_a_once_that_the_main_connection_brought_is_repeated_in_vain(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner, lane(address, owner) as own:
        owner.write(once(1), send("a"))
        assert await owner.is_served()
        own.write(repeat(2, 1), once(1), send("a"), once(2), sync("call"))
        await own.next(wire.RESULT)
        assert main.got == ["a", "call"]


# Room.


@pytest.mark.contract("9.2")
async def test_a_lane_waits_until_main_has_room_and_breaks_no_pause(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=1, high=1000, low=500))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, raw(address) as owner:
        owner.write(*[send(f"{number:0300}", b"slow") for number in range(5)])
        pause = await owner.next(wire.PAUSE)
        owner.write(Packet(wire.PAUSED, peer=0, request=pause.request))
        async with lane(address, owner) as own:
            held = [part for number in range(5, 20) for part in (once(number), send(f"{number:0300}", b"slow"))]
            own.write(repeat(8), *held, once(20), sync("call"))
            peer = bus.hub.renderers.ids[owner.id]
            await until(lambda: peer.lane is not None and peer.lane._held)
            assert peer.inbox.size < 2000
            assert peer.inbox.running == 1
            main.gate.set()
            await own.next(wire.RESULT)
        assert main.got == [*[f"{number:0300}" for number in range(20)], "call"]
        assert bus.broker.stats()["overruns"] == 0
        assert await owner.is_served()


@pytest.mark.contract("9.3")
async def test_a_lane_waits_until_a_handler_may_run(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=2))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, raw(address) as owner:

        def invoke(number: int) -> Packet:
            return Packet(wire.INVOKE, request=number, channel=b"slow", body=args(number))

        owner.write(invoke(1), invoke(2))
        async with lane(address, owner) as own:
            own.write(repeat(4), once(1), invoke(3), once(2), invoke(4), once(3), sync("call"))
            await until(lambda: end(bus, owner)._held)
            assert main.got == [1, 2]
            main.gate.set()
            await own.next(wire.RESULT)
            answers = [await owner.next(wire.RESULT, wire.ERROR) for _ in range(4)]
        assert [(answer.kind, answer.request) for answer in answers] == [
            (wire.RESULT, number) for number in range(1, 5)
        ]
        assert main.got == [1, 2, 3, 4, "call"]


async def test_a_call_needs_no_handlers_room(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=1))
    async with Bus(address, ipc_main=main.ipc, config=config), raw(address) as owner, lane(address, owner) as own:
        owner.write(Packet(wire.INVOKE, request=1, channel=b"slow", body=args(1)))
        own.write(repeat(3), sync("call"))
        assert (await own.next(wire.RESULT)).said == "call"
        main.gate.set()


async def test_what_waits_for_room_may_come_on_the_main_connection_first(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=1))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, raw(address) as owner:
        first, second = [Packet(wire.INVOKE, request=number, channel=b"slow", body=args(number)) for number in (1, 2)]
        owner.write(first)
        async with lane(address, owner) as own:
            own.write(repeat(3), once(1), second, once(2), sync("call"))
            await until(lambda: end(bus, owner)._held)
            main.gate.set()
            assert (await owner.next(wire.RESULT)).request == 1
            owner.write(once(1), second, once(2), sync("call"), send("last"))
            assert (await owner.next(wire.RESULT)).request == 2
            assert await owner.is_served()
        assert main.got == [1, 2, "call", "last"]


# Ends.


async def test_a_new_lane_ends_the_former_one(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc) as bus, raw(address) as owner, lane(address, owner) as old:
        old.write(repeat(5), once(1), sync("call"))
        await until(lambda: end(bus, owner)._next == 5)
        former = end(bus, owner)
        async with lane(address, owner, old.welcome["nonce"]) as new:
            assert await old.rest() == []
            owner.write(send(2), send(3), send(4))
            assert await owner.is_served()
            # What the former one carried is said again, and only then served.
            former.look_again()
            await asyncio.sleep(0)
            assert main.got == [2, 3, 4]
            new.write(repeat(5), once(1), sync("call"), once(2), sync("next", 2))
            assert [(await new.next(wire.RESULT)).request for _ in range(2)] == [1, 2]
            assert main.got == [2, 3, 4, "call", "next"]


async def test_a_lane_that_closes_is_forgotten(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc) as bus, raw(address) as owner:
        peer = bus.hub.renderers.ids[owner.id]
        async with lane(address, owner) as own:
            own.write(repeat(2), sync("call", channel=b"later"))
            await until(lambda: main.events)
        await until(lambda: peer.lane is None)
        # Nobody waits for it any more.
        main.events.pop().return_value = 1
        assert await owner.is_served()


async def test_a_renderer_that_goes_takes_its_lane_along(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner, lane(address, owner) as own:
        own.write(repeat(2), sync("call", channel=b"later"))
        await until(lambda: main.events)
        await owner.close()
        assert await own.rest() == []
        main.events.clear()


async def test_a_call_on_the_main_connection_is_answered_on_the_lane_there_is_or_nowhere(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner:
        owner.write(sync("nowhere", 1))
        assert await owner.is_served()
        async with lane(address, owner) as own:
            owner.write(sync("here", 2))
            assert (await own.next(wire.RESULT)).request == 2
        assert main.got == ["nowhere", "here"]


@pytest.mark.contract("5.6")
async def test_a_call_is_answered_once(address: str) -> None:
    main = Main()
    config = Config(sync_reply_timeout=0.02)
    async with Bus(address, ipc_main=main.ipc, config=config), raw(address) as owner, lane(address, owner) as own:
        own.write(repeat(2), sync("call", channel=b"later"))
        error = await own.next(wire.ERROR)
        assert (error.request, error.value) == (1, mainbus.ReplyNeverSent.wire_code)
        main.events.pop().return_value = "late"
        own.write(repeat(2), sync("next", 2))
        assert (await own.next(wire.RESULT, wire.ERROR)).request == 2


@pytest.mark.contract("9.4")
async def test_a_lane_is_served_in_turns(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner, lane(address, owner) as own:
        turns: list[int] = []

        def count() -> None:
            turns.append(len(main.got))
            if "call" not in main.got:
                asyncio.get_running_loop().call_soon(count)

        own.write(repeat(2), *[send(number) for number in range(1000)], sync("call"))
        await until(lambda: main.got)
        count()
        await own.next(wire.RESULT)
        assert main.got == [*range(1000), "call"]
        assert max(later - before for before, later in pairwise(turns)) <= 128


async def test_a_large_answer_comes_in_fragments(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), raw(address) as owner, lane(address, owner) as own:
        own.write(repeat(2), *wire.fragments(sync("x" * 1_000_000)))
        assert (await own.message(wire.RESULT)).said == "x" * 1_000_000


async def test_a_lane_that_was_given_up_for_another_serves_nothing_more(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc) as bus, raw(address) as owner, lane(address, owner) as former:
        given_up = end(bus, owner)
        async with lane(address, owner, former.welcome["nonce"]) as own:
            # What had been read of it before it was closed.
            given_up.data_received(repeat(2).encode() + sync("former").encode())
            own.write(repeat(2), sync("latter"))
            assert (await own.next(wire.RESULT)).said == "latter"
        assert main.got == ["latter"]


async def test_the_lane_of_a_renderer_that_is_closed_serves_nothing_more(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc) as bus, raw(address) as owner, lane(address, owner):
        given_up, contents = end(bus, owner), bus.hub.renderers.ids[owner.id].contents
        # Closed by the first of two calls that have arrived together.
        bus.ipc_main.on("close", lambda event, value: contents.close("enough"))
        given_up.data_received(repeat(2).encode() + sync("a", 1, b"close").encode() + sync("b", 2).encode())
        assert contents.is_destroyed()
        given_up.data_received(sync("c", 3).encode())
        assert main.got == []
