"""`send_sync` from a renderer's side: in its place whatever still waits, and nothing lost or doubled when it fails.

The renderer runs on a thread and loop of its own, which may stand still; the test's loop is the broker's, and standing
still there is what makes calls fail.
"""

import asyncio
import random
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, TypeVar

import pytest

import mainbus
from mainbus import IpcRenderer
from mainbus.lane import Interrupts
from mainbus_broker import Config, IpcMain
from mainbus_broker.config import Limits
from tests.support.bus import Bus, Program, in_thread, until, within
from tests.support.renderers import broker_process

pytestmark = pytest.mark.contract("3.5")

T = TypeVar("T")

BIG = "x" * 100_000
"""More than the kernel's buffers hold, a few times over."""


class Main:
    """A main process that notes what starts there, in order."""

    def __init__(self) -> None:
        self.got: list[object] = []
        self.events: list[Any] = []
        self.gate = asyncio.Event()
        self.ipc = IpcMain()
        self.ipc.on("c", lambda event, value, *rest: self.got.append(value))
        self.ipc.on("sync", self._sync)
        self.ipc.on("later", self._later)
        self.ipc.on("slow", self._slow)
        self.ipc.handle("slow", self._slow)

    def _sync(self, event: Any, value: object, *rest: object) -> None:
        self.got.append(value)
        event.return_value = value

    def _later(self, event: Any, value: object) -> None:
        self.got.append(value)
        self.events.append(event)

    async def _slow(self, event: Any, value: object, *rest: object) -> object:
        self.got.append(value)
        await self.gate.wait()
        return value


class Elsewhere:
    """A renderer on a thread of its own, which does there what the test says, step by step."""

    def __init__(self, renderer: IpcRenderer, loop: asyncio.AbstractEventLoop) -> None:
        self.renderer = renderer
        self._loop = loop

    def start(self, step: Callable[[IpcRenderer], T | Awaitable[T]]) -> Future[T]:
        """Begin a step."""

        async def run() -> T:
            result = step(self.renderer)
            return await result if isinstance(result, Awaitable) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop)

    async def do(self, step: Callable[[IpcRenderer], T | Awaitable[T]]) -> T:
        """Do a step while the broker's loop runs."""
        return await within(asyncio.wrap_future(self.start(step)))

    def do_alone(self, step: Callable[[IpcRenderer], T | Awaitable[T]]) -> T:
        """Do a step while the broker's loop stands still."""
        return self.start(step).result(timeout=10)


@asynccontextmanager
async def elsewhere(address: str, **options: Any) -> AsyncIterator[Elsewhere]:
    """Connect a renderer on a thread of its own."""
    ready: asyncio.Future[Elsewhere] = asyncio.get_running_loop().create_future()
    ours = asyncio.get_running_loop()

    async def main() -> None:
        async with mainbus.connect(address, **options) as renderer:
            done = asyncio.Event()
            found = Elsewhere(renderer, asyncio.get_running_loop())
            ended.append(partial(asyncio.get_running_loop().call_soon_threadsafe, done.set))
            ours.call_soon_threadsafe(ready.set_result, found)
            await done.wait()

    ended: list[Callable[[], object]] = []
    running = asyncio.ensure_future(asyncio.to_thread(asyncio.run, main()))
    try:
        yield await within(ready)
    finally:
        ended[0]()
        await within(running)


def fails(renderer: IpcRenderer, value: object, channel: str = "sync", timeout: float = 0.05) -> None:
    with pytest.raises(mainbus.InvokeTimeout):
        renderer.send_sync(channel, value, timeout=timeout)


# In its place.


@pytest.mark.contract("2.19", "9.1")
async def test_what_sits_in_the_transport_comes_before_the_call_and_once(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), elsewhere(address) as renderer:

        def flood(renderer: IpcRenderer) -> tuple[object, int]:
            for number in range(100):
                renderer.send("c", number, BIG)
            answer = renderer.send_sync("sync", 100)
            assert renderer._session is not None
            # The loop stood still: what the kernel did not take is still where it was, and will come once more.
            return answer, len(renderer._session.outbox.in_flight()[0])

        answer, in_flight = await renderer.do(flood)
        assert (answer, in_flight > 0) == (100, True)
        assert main.got == [*range(101)]
        await renderer.do(lambda renderer: [renderer.send("c", number) for number in range(101, 110)])
        await renderer.do(lambda renderer: renderer.drain())
        await renderer.do(lambda renderer: renderer.send_sync("sync", 110))
        assert main.got == [*range(111)]


@pytest.mark.contract("2.19")
async def test_the_rest_of_a_large_message_comes_before_the_call(address: str) -> None:
    main = Main()
    async with Bus(address, ipc_main=main.ipc), elsewhere(address) as renderer:
        for turns in (0, 1, 3):

            async def send(renderer: IpcRenderer, turns: int = turns) -> object:
                renderer.send("c", 0, "y" * 5_000_000)
                for _ in range(turns):
                    # Some of it leaves before the loop stands still.
                    await asyncio.sleep(0)
                renderer.send("c", 1)
                return renderer.send_sync("sync", 2, "y" * 1_000_000)

            assert await renderer.do(send) == 2
            assert main.got == [0, 1, 2]
            main.got.clear()


@pytest.mark.contract("2.19", "9.2")
async def test_what_a_pause_holds_comes_before_the_call(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=1, high=1000, low=500))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, elsewhere(address) as renderer:
        for number in range(20):
            await renderer.do(lambda renderer, number=number: renderer.send("slow", number, "z" * 300))
        await until(lambda: renderer.renderer._session.main.paused and renderer.renderer._session.main.size)
        call = renderer.start(lambda renderer: renderer.send_sync("sync", 20))
        await until(lambda: bus.hub.renderers.ids[renderer.renderer._session.welcome.id].lane)
        main.gate.set()
        assert await within(asyncio.wrap_future(call)) == 20
        assert main.got == [*range(21)]
        assert bus.broker.stats()["overruns"] == 0


@pytest.mark.contract("2.19", "9.3")
async def test_invokes_without_credit_come_before_the_call_and_within_the_credit(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=2))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, elsewhere(address) as renderer:

        def invoke(renderer: IpcRenderer) -> tuple[object, list[Any]]:
            replies = [renderer.invoke("slow", number) for number in range(6)]
            return renderer.send_sync("sync", 6), replies

        calling = renderer.start(invoke)
        await until(lambda: (peer := bus.hub.renderers.ids[1]).lane is not None and peer.lane._held)
        await until(lambda: len(main.got) == 2)
        main.gate.set()
        answer, replies = await within(asyncio.wrap_future(calling))
        assert answer == 6
        assert main.got == [*range(7)]
        assert await renderer.do(lambda _: asyncio.gather(*replies)) == [*range(6)]


# When it fails.


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
        await renderer.do(lambda renderer: renderer.drain())
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
        await renderer.do(lambda _: asyncio.gather(*replies))
        await renderer.do(lambda renderer: renderer.drain())
        await renderer.do(lambda renderer: renderer.invoke("bus:ping"))
        # A call that failed may have arrived or not, but where it was made.
        count = next(numbers)
        assert main.got == sorted(set(main.got))  # type: ignore[type-var]
        assert set(range(count)) - set(main.got) <= failed
        assert failed & set(main.got)
        assert bus.broker.stats()["overruns"] == 0


@pytest.mark.contract("9.2")
async def test_what_was_given_back_still_obeys_a_pause(address: str) -> None:
    main = Main()
    config = Config(limits=Limits(running=1, high=1000, low=500))
    async with Bus(address, ipc_main=main.ipc, config=config) as bus, elsewhere(address) as renderer:
        for number in range(20):
            await renderer.do(lambda renderer, number=number: renderer.send("slow", number, "z" * 300))
        session = renderer.renderer._session
        assert session is not None
        await until(lambda: session.main.paused and session.main.size)
        await renderer.do(lambda renderer: fails(renderer, 20))
        await renderer.do(lambda renderer: renderer.send("c", 21))
        assert await renderer.do(lambda renderer: renderer._session.main.size > 300)  # type: ignore[union-attr]
        main.gate.set()
        await until(lambda: 21 in main.got)
        assert main.got == [*range(22)]
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
        assert await renderer.do(lambda _: replies[2]) is None
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
            with pytest.raises(mainbus.ConnectionLost, match="refused a second connection: .*has that lane"):
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


# Without a broker.

WAITER = """
async def main():
    events = []
    ipc_main = IpcMain()

    @ipc_main.on("never")
    def never(event):
        events.append(event)
        say("called")

    @ipc_main.on("sync")
    def sync(event, value):
        event.return_value = value

    async with Broker(sys.argv[1], ipc_main=ipc_main):
        say("ready")
        await forever()

asyncio.run(main())
"""


@pytest.mark.contract("9.5")
async def test_a_broker_that_is_killed_ends_the_call(address: str) -> None:
    async with Program(WAITER, address) as program:
        assert await program.line() == "ready"
        async with elsewhere(address, reconnect=False) as renderer:
            call = renderer.start(lambda renderer: renderer.send_sync("never"))
            assert await program.line() == "called"
            program.kill()
            with pytest.raises(mainbus.ConnectionLost):
                await within(asyncio.wrap_future(call))


async def test_without_a_connection_there_is_no_call(address: str) -> None:
    async with elsewhere_after_the_broker(address, reconnect=False) as renderer:

        def call(renderer: IpcRenderer) -> None:
            with pytest.raises(mainbus.ConnectionLost):
                renderer.send_sync("sync", 1)

        await renderer.do(call)


@pytest.mark.contract("9.6")
async def test_a_reconnect_has_a_lane_of_its_own(address: str) -> None:
    async with elsewhere_after_the_broker(address) as renderer:

        def call(renderer: IpcRenderer) -> None:
            with pytest.raises(mainbus.ConnectionLost):
                renderer.send_sync("sync", 1)

        await renderer.do(call)
        async with Program(WAITER, address) as program:
            assert await program.line() == "ready"
            await renderer.do(lambda renderer: until(lambda: renderer.is_connected))
            assert await renderer.do(lambda renderer: renderer.send_sync("sync", 2)) == 2


@asynccontextmanager
async def elsewhere_after_the_broker(address: str, **options: Any) -> AsyncIterator[Elsewhere]:
    """A renderer that has used its lane and whose broker was killed."""
    async with broker_process(address) as program:
        async with elsewhere(address, **options) as renderer:
            for _ in range(2):
                with pytest.raises(mainbus.ReplyNeverSent):
                    await renderer.do(lambda renderer: renderer.send_sync("nobody listens"))
            program.kill()
            await program.end()
            await renderer.do(lambda renderer: until(lambda: not renderer.is_connected))
            yield renderer


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
            await renderer.do(lambda _: reply)
        await renderer.do(lambda renderer: until(lambda: renderer.is_connected))
        assert await renderer.do(lambda renderer: renderer.send_sync("sync", 3)) == 3
        session = renderer.renderer._session
        assert session is not None
        assert main.got == [0, 3]
        assert (session.main.size, session.main.unanswered, session.outbox.calls, session.outbox.held) == (0, 0, 0, 0)


# Ctrl-C.

INTERRUPTED = """
import threading

async def main():
    renderer = await mainbus.connect(sys.argv[1])
    before = signal.getsignal(signal.SIGINT)
    try:
        renderer.send_sync("never")
    except KeyboardInterrupt:
        say("interrupted")
    assert signal.getsignal(signal.SIGINT) is before
    assert renderer.send_sync("sync", 2) == 2
    await renderer.aclose()
    say("works")
    if sys.argv[3] == "again":
        renderer = await mainbus.connect(sys.argv[1])
        renderer.send_sync("never")

if sys.argv[2] == "uvloop":
    import uvloop
    factory = uvloop.new_event_loop
else:
    factory = asyncio.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_the_first_ctrl_c_raises_keyboard_interrupt(address: str, loop: str) -> None:
    called: asyncio.Queue[Any] = asyncio.Queue()
    async with Bus(address) as bus:
        bus.ipc_main.on("never", called.put_nowait)
        bus.ipc_main.on("sync", lambda event, value: setattr(event, "return_value", value))
        async with Program(INTERRUPTED, address, loop, "once") as program:
            event = await within(called.get())
            program.process.send_signal(signal.SIGINT)
            assert await program.line() == "interrupted"
            assert await program.line() == "works"
            assert await program.end() == 0
            del event


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_a_ctrl_c_that_nobody_catches_ends_the_program(
    address: str, loop: str, capfd: pytest.CaptureFixture[str]
) -> None:
    called: asyncio.Queue[Any] = asyncio.Queue()
    async with Bus(address) as bus:
        bus.ipc_main.on("never", called.put_nowait)
        bus.ipc_main.on("sync", lambda event, value: setattr(event, "return_value", value))
        async with Program(INTERRUPTED, address, loop, "again") as program:
            for _ in range(2):
                event = await within(called.get())
                program.process.send_signal(signal.SIGINT)
            assert await program.line() == "interrupted"
            assert await program.line() == "works"
            assert await program.end() in (1, 130, -signal.SIGINT)
            del event
    assert "KeyboardInterrupt" in capfd.readouterr().err


def test_an_interrupt_waits_for_what_must_be_done_whole() -> None:
    before = signal.getsignal(signal.SIGINT)
    steps = []

    def work() -> None:
        with Interrupts() as interrupts:
            with interrupts.held():
                signal.raise_signal(signal.SIGINT)
                steps.append("whole")
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["whole"]
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_raises_at_once_elsewhere() -> None:
    steps = []

    def work() -> None:
        with Interrupts():
            steps.append("before")
            signal.raise_signal(signal.SIGINT)
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert steps == ["before"]


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_who_has_the_signal_ignored_or_deadly_keeps_that(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is handler
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_leave_the_signal_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with Interrupts():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


async def test_a_call_over_memory_is_as_one_over_a_socket(address: str) -> None:
    main = Main()
    where = f"memory:{address.removeprefix('unix:')}"

    def call(renderer: IpcRenderer) -> object:
        for number in range(20):
            renderer.send("c", number, BIG)
        return renderer.send_sync("sync", 20)

    async with Bus(where, ipc_main=main.ipc):
        assert await in_thread(where, call) == 20
        assert main.got == [*range(21)]


