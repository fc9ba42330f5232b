"""Ctrl-C while `send_sync` blocks: the first one raises, wherever that may be, and nothing is left half-done."""

import asyncio
import signal
import threading
from typing import Any

import pytest
from mainbus.lane import Interrupts

from tests.support.bus import Bus, Program, within

pytestmark = pytest.mark.contract("3.5")

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
