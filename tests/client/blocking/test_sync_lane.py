"""send_sync of threads: in its place, any number at once, one outcome each."""

import asyncio
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer
from mainbus.blocking.waiter import Waiter
from mainbus_broker import Config
from mainbus_broker.config import Limits

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread


@pytest.fixture
def renderer(broker: BrokerThread) -> Iterator[BlockingRenderer]:
    with mainbus.blocking.connect(broker.address, name="a") as opened:
        yield opened


def turn(renderer: BlockingRenderer) -> None:
    """Give the reader thread a turn."""
    renderer._loop.wait(lambda waiter: waiter.succeed(None))


@pytest.mark.contract("3.14", "5.6")
def test_outcomes_are_those_of_send_sync(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    @broker.ipc_main.on("value")
    def value(event: Any, sent: object) -> None:
        event.return_value = sent
        event.return_value = "second"

    @broker.ipc_main.on("odd")
    def odd(event: Any) -> None:
        event.return_value = threading.Lock()

    broker.ipc_main.on("silent", lambda event: None)
    assert renderer.send_sync("value", {"a": [1]}) == {"a": [1]}
    large = bytes(3_000_000)
    assert renderer.send_sync("value", large) == large
    with pytest.raises(mainbus.ReplyNeverSent):
        renderer.send_sync("nobody")
    with pytest.raises(mainbus.ReplyNeverSent):
        renderer.send_sync("silent")
    with pytest.raises(mainbus.RemoteError, match="An object could not be cloned"):
        renderer.send_sync("odd")


@pytest.mark.contract("3.14")
def test_timeout_has_its_name_and_the_late_answer_is_dropped(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    events = Box()
    broker.ipc_main.on("later", events)
    with pytest.raises(mainbus.InvokeTimeout):
        renderer.send_sync("later", timeout=0.05)
    (event,) = events.get()

    @broker.ipc_main.on("now")
    def now(event: Any) -> None:
        event.return_value = "now"

    broker.call(setattr, event, "return_value", "late")
    lane = renderer._lane
    assert renderer.send_sync("now") == "now"
    assert renderer._lane is lane


@pytest.mark.contract("3.14", "2.19")
def test_it_keeps_its_place_behind_what_the_target_holds_up(address: str) -> None:
    seen: list[object] = []
    with BrokerThread(address, config=Config(limits=Limits(running=2))) as broker:
        go_on = asyncio.Event()

        @broker.ipc_main.handle("invoke")
        async def invoke(event: Any, number: int) -> None:
            seen.append(number)
            await go_on.wait()

        @broker.ipc_main.on("sync")
        def sync(event: Any, number: int) -> None:
            seen.append(number)
            event.return_value = number

        with mainbus.blocking.connect(address) as renderer:

            def started(number: int) -> Any:
                waiting = in_thread(lambda: renderer.invoke("invoke", number))
                while renderer.stats()["pending"] <= number:
                    turn(renderer)
                return waiting

            invoked = [started(number) for number in range(4)]
            synced = in_thread(lambda: renderer.send_sync("sync", 4))
            # Two of four run, the others have no credit, and the call waits behind them.
            while len(seen) < 2:
                turn(renderer)
            broker.call(go_on.set)
            assert synced() == 4
            for wait in invoked:
                wait()
    assert seen == list(range(5))


@pytest.mark.contract("3.14", "3.5")
def test_it_works_again_after_a_loss(address: str) -> None:
    def answer(event: Any, number: int) -> None:
        event.return_value = number

    back = threading.Event()
    with BrokerThread(address) as broker:
        broker.ipc_main.on("sync", answer)
        renderer = mainbus.blocking.connect(address)
        renderer.events.on("reconnected", back.set)
        renderer.open()
        assert renderer.send_sync("sync", 1) == 1
    with BrokerThread(address) as broker:
        broker.ipc_main.on("sync", answer)
        assert back.wait(PATIENCE)
        assert renderer.send_sync("sync", 2) == 2
        renderer.close()


@pytest.mark.contract("3.14", "9.5")
def test_loss_fails_the_calls_that_wait(address: str) -> None:
    with BrokerThread(address) as broker:
        kept: list[Any] = []
        arrived = Box()
        broker.ipc_main.on("wait", arrived)
        renderer = mainbus.blocking.connect(address, name="a").open()
        waiting = [in_thread(lambda: renderer.send_sync("wait")) for _ in range(3)]
        kept += (arrived.get() for _ in waiting)  # an event that nobody keeps is answered
        contents = broker.contents("a")
        broker.call(contents._peer.transport.abort)
        for wait in waiting:
            with pytest.raises(mainbus.ConnectionLost):
                wait()
        renderer.close()


@contextmanager
def standing_still(broker: BrokerThread) -> Iterator[None]:
    """Let the broker do nothing inside of this; what it is sent waits in the kernel."""
    stands, go_on = threading.Event(), threading.Event()

    def stand_still() -> None:
        stands.set()
        assert go_on.wait(PATIENCE)

    still = in_thread(lambda: broker.call(stand_still))
    assert stands.wait(PATIENCE)
    try:
        yield
    finally:
        go_on.set()
        still()


def calling(renderer: BlockingRenderer, *args: object, timeout: float = 30) -> Any:
    """Begin a `send_sync` in another thread; returns what waits for its outcome."""
    before = renderer._lane._last if renderer._lane is not None else 0
    waiting = in_thread(lambda: renderer.send_sync("sync", *args, timeout=timeout))
    while renderer._lane is None or renderer._lane._last == before:
        turn(renderer)
    return waiting


def note(seen: list[object]) -> Any:
    def listener(event: Any, value: object) -> None:
        seen.append(value if not isinstance(value, bytes) else len(value))
        event.return_value = value

    return listener


def test_calls_before_the_lane_is_open_share_it(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    seen: list[object] = []
    broker.ipc_main.on("sync", note(seen))
    with standing_still(broker):
        waiting = [calling(renderer, number) for number in range(3)]
        lane = renderer._lane
    assert [wait() for wait in waiting] == [0, 1, 2]
    assert renderer._lane is lane
    assert lane is not None
    assert not lane.is_lost


@pytest.mark.contract("2.19", "3.14")
@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("value", ["sync", bytes(3_000_000)])
def test_nothing_of_another_thread_overtakes_it(
    broker: BrokerThread, renderer: BlockingRenderer, is_open: bool, value: Any
) -> None:
    seen: list[object] = []
    broker.ipc_main.on("sync", note(seen))
    broker.ipc_main.on("send", lambda event, value: seen.append(value))
    broker.ipc_main.handle("invoke", lambda event, value: seen.append(value))
    if is_open:
        renderer.send_sync("sync", "open")
        seen.clear()
    with standing_still(broker):
        renderer.send("send", "before")
        synced = calling(renderer, value)
        # Of another thread than the call.
        renderer.send("send", "behind")
        invoked = in_thread(lambda: renderer.invoke("invoke", "last"))
        turn(renderer)
    invoked()
    assert synced() == value
    assert seen == ["before", len(value) if isinstance(value, bytes) else value, "behind", "last"]


@pytest.mark.contract("2.19", "3.14")
def test_one_that_gives_up_before_the_lane_is_open_holds_nothing_up(
    broker: BrokerThread, renderer: BlockingRenderer
) -> None:
    seen: list[object] = []
    broker.ipc_main.on("sync", note(seen))
    with standing_still(broker):
        with pytest.raises(mainbus.InvokeTimeout):
            renderer.send_sync("sync", "given up", timeout=0.05)
        renderer.send("sync", "behind")
        # The broker still does nothing, and yet it leaves.
        renderer.drain()
    assert renderer.send_sync("sync", "again") == "again"
    assert seen == ["behind", "again"]


@pytest.mark.contract("9.1", "3.14")
def test_an_answer_for_a_lost_lane_is_none_to_a_call_of_the_next(
    broker: BrokerThread, renderer: BlockingRenderer
) -> None:
    seen: list[object] = []
    broker.ipc_main.on("sync", note(seen))
    # More than is served in the turns in which the next lane is opened, and no more than the system takes from who
    # writes: what has not left when its lane is lost is not sent. A pipe takes 64 KiB.
    ahead = 3000 if sys.platform != "win32" else 1500

    assert renderer.send_sync("sync", "open") == "open"
    lane = renderer._lane
    assert lane is not None

    def lose(waiter: Waiter) -> None:
        assert lane._transport is not None
        lane._transport.abort()
        waiter.succeed(None)

    with standing_still(broker):
        for number in range(ahead):
            renderer.send("sync", number)
        lost = calling(renderer, "lost")
        renderer._loop.wait(lose)
        with pytest.raises(mainbus.ConnectionLost):
            lost()
        # Of as many calls as the first lane had one would have the lost one's number.
        synced = [calling(renderer, "next"), calling(renderer, "last")]
    assert [wait() for wait in synced] == ["next", "last"]
    assert seen == ["open", *range(ahead), "lost", "next", "last"]


def test_lost_lane_is_opened_again(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    @broker.ipc_main.on("sync")
    def sync(event: Any, number: int) -> None:
        event.return_value = number

    assert renderer.send_sync("sync", 1) == 1
    first = renderer._lane
    assert first is not None
    assert renderer.send_sync("sync", 2) == 2
    assert renderer._lane is first
    contents = broker.contents("a")
    broker.call(lambda: contents._peer.lane._transport.abort())  # type: ignore[union-attr]
    while not first.is_lost:
        renderer.invoke("echo")
    assert renderer.send_sync("sync", 3) == 3


def test_memory_has_lanes_too() -> None:
    with BrokerThread("memory:sync-lane") as broker, mainbus.blocking.connect("memory:sync-lane") as renderer:

        @broker.ipc_main.on("sync")
        def sync(event: Any, number: int) -> None:
            event.return_value = number

        assert renderer.send_sync("sync", 1) == 1
