"""`send_sync` that fails: nothing that was to go before it is lost or doubled, and all of it keeps its place.

The test's loop is the broker's: while it stands still, calls find nobody.
"""

import asyncio
import random
import sys
from functools import partial
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer
from mainbus_broker import Config
from mainbus_broker.config import Limits

from tests.support.bus import Bus, in_thread, until, within
from tests.support.elsewhere import Main, elsewhere, send_slow

pytestmark = pytest.mark.contract("3.5")

BIG = "x" * 100_000
"""More than the kernel's buffers hold, a few times over."""


def fails(renderer: IpcRenderer, value: object, channel: str = "sync", timeout: float = 0.05) -> None:
    with pytest.raises(mainbus.InvokeTimeout):
        renderer.send_sync(channel, value, timeout=timeout)


@pytest.mark.contract("2.19", "9.1")
async def test_a_call_that_gave_up_keeps_its_place(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), elsewhere(address) as renderer:
        assert await renderer.do(lambda renderer: renderer.send_sync("sync", 0)) == 0

        def unheard(renderer: IpcRenderer) -> None:
            renderer.send("c", 1)
            fails(renderer, 2)
            renderer.send("c", 3)
            # Another one, while nobody has read the first: it has no lane and is not sent at all.
            fails(renderer, -1)
            renderer.send("c", 4)

        renderer.do_alone(unheard)
        assert main.got == [0]
        assert await renderer.do(lambda renderer: renderer.send_sync("sync", 5)) == 5
        await renderer.do(lambda renderer: renderer.send("c", 6))
        await until(lambda: len(main.got) == 7)
        assert main.got == [*range(7)]


@pytest.mark.contract("2.19", "9.1")
async def test_nothing_is_lost_or_doubled_when_a_call_gives_up_while_it_sends(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), elsewhere(address) as renderer:
        await renderer.do(lambda renderer: renderer.send_sync("sync", -1))

        def flood(renderer: IpcRenderer) -> None:
            for number in range(50):
                renderer.send("c", number, BIG)
            # Neither connection takes all of it.
            fails(renderer, 50)
            renderer.send("c", 51, "y" * 1_000_000)
            renderer.send("c", 52)

        renderer.do_alone(flood)
        await until(lambda: 52 in main.got)
        assert main.got == [*range(-1, 53)]
        assert await renderer.do(lambda renderer: renderer.send_sync("sync", 53)) == 53
        await renderer.wait(lambda renderer: renderer.drain())
        assert main.got == [*range(-1, 54)]


@pytest.mark.contract("2.19", "9.1")
@pytest.mark.parametrize("seed", range(3))
async def test_any_mixture_of_calls_that_fail_and_succeed_keeps_order(address: str, seed: int) -> None:
    main = Main()
    chance = random.Random(seed)
    config = Config(limits=Limits(high=100_000, low=10_000, running=5))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, elsewhere(address) as renderer:
        main.ipc.handle("c", lambda event, value, *rest: main.got.append(value))
        numbers = iter(range(10_000))
        replies: list[Any] = []
        failed: set[int] = set()
        for _ in range(25):
            plan = [(chance.random(), next(numbers)) for _ in range(chance.randrange(1, 40))]

            def act(renderer: IpcRenderer, plan: list[tuple[float, int]] = plan) -> None:
                for kind, number in plan:
                    if kind < 0.5:
                        renderer.send("c", number, "y" * int(kind * 4000))
                    elif kind < 0.55:
                        renderer.send("c", number, "y" * 300_000)
                    elif kind < 0.9:
                        replies.append(renderer.invoke("c", number))
                    else:
                        try:
                            renderer.send_sync("sync", number, timeout=0.02)
                        except mainbus.InvokeTimeout:
                            failed.add(number)

            if chance.random() < 0.4:
                renderer.do_alone(act)
            else:
                await renderer.do(act)
        await renderer.wait(lambda _: asyncio.gather(*replies))
        await renderer.wait(lambda renderer: renderer.drain())
        await renderer.wait(lambda renderer: renderer.invoke("bus:ping"))
        # A call that failed may have arrived or not, but where it was made.
        count = next(numbers)
        assert main.got == sorted(set(main.got))  # type: ignore[type-var]
        assert set(range(count)) - set(main.got) <= failed
        assert failed & set(main.got)
        assert bus.broker.stats()["overruns"] == 0


@pytest.mark.contract("9.2")
@pytest.mark.parametrize("is_read", [True, False])
async def test_what_was_given_back_still_obeys_a_pause(address: str, is_read: bool) -> None:
    main = Main()
    config = Config(limits=Limits(running=1, high=1000, low=500))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, elsewhere(address) as renderer:
        for number in range(20):
            await renderer.do(partial(send_slow, number=number))
        session = renderer.session
        await until(lambda: session.main.paused and session.main.size)
        # Twice, and each time there is no room for it: what went back goes out once more, and back.
        await renderer.do(lambda renderer: fails(renderer, 20))
        await renderer.do(lambda renderer: fails(renderer, 21))
        await renderer.do(lambda renderer: renderer.send("c", 22))
        assert await renderer.do(lambda renderer: renderer._session.main.size > 300)  # type: ignore[union-attr]
        lane = bus.hub.renderers.ids[renderer.renderer.id].lane
        # The end of a pipe may have been seen by now, behind what it has brought.
        assert lane is not None or sys.platform == "win32"
        if lane is not None and not is_read:
            # What the lane has brought to the broker's door is lost with it.
            lane.close()
        main.gate.set()
        await until(lambda: 22 in main.got)
        assert main.got == [*range(23)]
        assert bus.broker.stats()["overruns"] == 0


@pytest.mark.contract("5.7")
async def test_an_invoke_that_was_given_back_can_be_cancelled(address: str) -> None:
    main = Main()
    cancelled: list[int] = []

    async def stubborn(event: Any, number: int) -> None:
        main.got.append(number)
        try:
            await main.gate.wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    main.ipc.handle("stubborn", stubborn)
    config = Config(limits=Limits(running=1))
    async with Bus(address, ipc_main=main.ipc, config=config), elsewhere(address) as renderer:
        await renderer.do(lambda renderer: renderer.send_sync("sync", -1))

        def invoke(renderer: IpcRenderer) -> list[Any]:
            replies = [renderer.invoke("stubborn", number) for number in range(3)]
            fails(renderer, 3)
            replies[1].cancel()
            return replies

        replies = renderer.do_alone(invoke)
        await until(lambda: main.got == [-1, 0])
        await renderer.do(lambda _: replies[0].cancel())
        await until(lambda: 2 in main.got)
        main.gate.set()
        assert await renderer.wait(lambda _: replies[2]) is None
        await until(lambda: 3 in main.got)
        # The second was cancelled where it waited, the first where it ran.
        assert main.got in ([-1, 0, 2, 3], [-1, 0, 1, 2, 3])
        assert set(cancelled) <= {0, 1}


async def test_a_late_answer_is_passed_over(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc) as bus, elsewhere(address) as renderer:
        await renderer.do(lambda renderer: fails(renderer, "first", "later"))
        await until(lambda: main.events)
        # It is answered on the next lane, as if it had come there.
        call = renderer.start(lambda renderer: renderer.send_sync("later", "second"))
        await until(lambda: len(main.events) == 2)
        lane = bus.hub.renderers.ids[1].lane
        assert lane is not None
        lane.expect(1, "later")
        lane.answer(1, (mainbus.wire.packets.Kind.RESULT, 0, b"\x01"))
        main.events[0].return_value = "late"
        main.events[1].return_value = "in time"
        assert await within(asyncio.wrap_future(call)) == "in time"
        main.events.clear()


async def test_a_lane_that_could_not_be_opened_in_time_is_opened_later(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), elsewhere(address) as renderer:
        for _ in range(3):
            renderer.do_alone(partial(fails, value="never sent"))
        assert await renderer.do(lambda renderer: renderer.send_sync("sync", "sent")) == "sent"
        assert main.got == ["sent"]


async def test_a_lane_that_is_refused_is_a_lost_connection(address: str) -> None:
    async with Bus(address) as bus, elsewhere(address) as renderer:
        bus.hub.renderers.ids[1].lane_nonces = ()

        def call(renderer: IpcRenderer) -> None:
            with pytest.raises(mainbus.ConnectionLost, match=r"refused a second connection: .*has that lane"):
                renderer.send_sync("sync", 1)

        await renderer.do(call)


async def test_a_call_that_is_too_large_is_not_sent(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(message=1000))
    async with Bus(address, ipc_main=main.ipc, config=config):

        def call(renderer: IpcRenderer) -> object:
            with pytest.raises(mainbus.MessageTooLarge):
                renderer.send_sync("sync", "x" * 1000)
            return renderer.send_sync("sync", "small")

        assert await in_thread(address, call) == "small"
        assert main.got == ["small"]


@pytest.mark.contract("9.1", "9.6")
async def test_what_was_given_back_does_not_outlive_its_connection(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc) as bus, elsewhere(address) as renderer:
        await renderer.do(lambda renderer: renderer.send_sync("sync", 0))

        def unheard(renderer: IpcRenderer) -> list[Any]:
            session = renderer._session
            assert session is not None
            session.main.pause()
            reply = renderer.invoke("slow", 1)
            fails(renderer, 2)
            return [reply]

        [reply] = renderer.do_alone(unheard)
        # The lane was closed, but the kernel has what it carried. The main connection ends before it is said again.
        bus.contents(renderer.renderer).close("by the test")
        with pytest.raises(mainbus.ConnectionLost):
            await renderer.wait(lambda _: reply)
        await renderer.wait(lambda renderer: until(lambda: renderer.is_connected))
        assert await renderer.do(lambda renderer: renderer.send_sync("sync", 3)) == 3
        session = renderer.session
        assert main.got == [0, 3]
        assert (session.main.size, session.main.unanswered, session.outbox.calls, session.outbox.held) == (0, 0, 0, 0)
