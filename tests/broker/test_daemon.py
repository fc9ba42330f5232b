"""A broker as a process of its own, driven inside this one: what runs, in which order, and how it ends."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import mainbus
import pytest
from mainbus import AddressError, ConfigError, ReplyNeverSent
from mainbus_broker import Broker, Config, IpcMain, daemon
from mainbus_broker.daemon import Loop, SetupFailed, run


def ask(number: signal.Signals = signal.SIGTERM) -> None:
    if sys.platform == "win32":
        signal.raise_signal(number)  # kill would end it at once
    else:
        os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where the process would end itself, with the tests in it."""

    def leave(code: int, left: list[str]) -> None:
        raise AssertionError(f"still running: {left}")

    monkeypatch.setattr(daemon, "_leave", leave)


def meanwhile(look: Callable[[Broker], object]) -> Callable[[Broker], None]:
    """Return a setup function that looks at the broker once it has started, and then has it end."""

    def setup(broker: Broker) -> None:
        def look_again() -> None:
            if not broker.addresses:
                asyncio.get_running_loop().call_soon(look_again)
                return
            try:
                look(broker)
            finally:
                ask()

        asyncio.get_running_loop().call_soon(look_again)

    return setup


@contextmanager
def client(address: str, channel: str) -> Iterator[list[object]]:
    """Invoke a channel on another thread while this one runs the broker; yields where the outcome comes."""
    outcome: list[object] = []

    async def main() -> None:
        async with mainbus.connect(address, connect_timeout=10, reconnect=False) as renderer:
            outcome.extend(await asyncio.gather(renderer.invoke(channel), return_exceptions=True))

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    yield outcome
    thread.join()


@pytest.mark.parametrize("loop", Loop)
def test_it_runs_on_the_loop_that_was_asked_for(loop: Loop, address: str) -> None:
    seen: list[object] = []

    def look(broker: Broker) -> None:
        seen.extend([type(asyncio.get_running_loop()).__module__.split(".")[0], broker.addresses])

    assert run(meanwhile(look), addresses=[address], loop=loop) == 0
    assert seen == ["asyncio" if loop is Loop.ASYNCIO else "uvloop", [address]]


def test_without_uvloop(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ConfigError, match="uvloop is not installed; --loop asyncio"):
        run(addresses=[address], loop=Loop.UVLOOP)
    seen: list[str] = []
    assert run(meanwhile(lambda _: seen.append(type(asyncio.get_running_loop()).__module__)), addresses=[address]) == 0
    assert seen[0].startswith("asyncio.")


def test_an_ipc_main_and_a_config_are_used(address: str, caplog: pytest.LogCaptureFixture) -> None:
    ipc_main = IpcMain()

    @ipc_main.handle("grace")
    def grace(event: Any) -> object:
        asyncio.get_running_loop().call_soon(ask)
        return event.sender._hub.config.cancel_grace

    with client(address, "grace") as outcome, caplog.at_level(logging.INFO):
        assert run(ipc_main, addresses=[address], config=Config(cancel_grace=1.5)) == 0
    assert outcome == [1.5]
    (start,) = [record for record in caplog.records if record.getMessage().startswith("serving")]
    assert vars(start)["addresses"] == [address]
    assert vars(start)["pid"] == os.getpid()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_signal_handlers_are_given_back(
    number: signal.Signals, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)]

    async def setup(broker: Broker) -> None:
        ask(number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    # Asked before it has started, it does not even begin to listen.
    with caplog.at_level(logging.INFO):
        assert run(setup, addresses=[address]) == 0
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [number.name]
    assert [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)] == before


@pytest.mark.parametrize("kind", ["plain", "async", "awaitable"])
def test_what_setup_raises_comes_as_its_cause(kind: str, address: str) -> None:
    async def later(broker: Broker) -> None:
        await asyncio.sleep(0)
        raise LookupError("why")

    def at_once(broker: Broker) -> None:
        raise LookupError("why")

    setup = {"plain": at_once, "async": later, "awaitable": lambda broker: asyncio.ensure_future(later(broker))}[kind]
    with pytest.raises(SetupFailed) as caught:
        run(setup, addresses=[address])
    assert isinstance(caught.value.__cause__, LookupError)


def test_an_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(AddressError, match="unknown scheme"):
        run(addresses=["tcp:1"])
    folder = os.path.dirname(address.removeprefix("unix:"))
    with pytest.raises(AddressError, match="a folder"):
        run(addresses=[f"unix:{folder}"])


def test_the_application_may_stop_its_broker(address: str) -> None:
    tasks: list[asyncio.Task[None]] = []

    def stop(broker: Broker) -> None:
        tasks.append(asyncio.create_task(broker.stop()))

    def setup(broker: Broker) -> None:
        broker.ipc_main.handle("stop", lambda event: stop(broker))

    with client(address, "stop") as outcome:
        assert run(setup, addresses=[address]) == 0
    assert outcome == [None]
    assert tasks[0].done()


def test_tasks_of_the_application_are_cancelled_once_and_may_clean_up(address: str) -> None:
    notes: list[str] = []

    async def background() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            notes.append("cleaned up")
            raise

    tasks = []

    def setup(broker: Broker) -> None:
        tasks.append(asyncio.create_task(background()))
        asyncio.get_running_loop().call_soon(ask)

    assert run(setup, addresses=[address]) == 0
    assert notes == ["cleaned up"]
    assert tasks[0].cancelling() == 1


def test_two_signals_at_once_do_not_wait_either(address: str) -> None:
    ipc_main = IpcMain()

    @ipc_main.handle("stubborn")
    async def stubborn(event: Any) -> None:
        # The second may be heard before the broker has begun to stop.
        ask(signal.SIGTERM)
        ask(signal.SIGINT)
        ended = asyncio.Event()
        event.sender.on("destroyed", ended.set)
        while not ended.is_set():
            with suppress(asyncio.CancelledError):
                await ended.wait()

    with client(address, "stubborn") as outcome:
        assert run(ipc_main, addresses=[address], drain=3600) > 128
    assert [type(error) for error in outcome] == [ReplyNeverSent], outcome


@pytest.mark.contract("9.8")
def test_a_second_signal_cuts_the_end_short(address: str) -> None:
    ipc_main = IpcMain()
    cancelled: list[str] = []

    def ask_again(event: Any) -> None:
        # Not before the first was heard: at the same time they would count as one.
        if event.sender._hub.stopping:
            ask(signal.SIGINT)
        else:
            asyncio.get_running_loop().call_soon(ask_again, event)

    @ipc_main.handle("slow")
    async def slow(event: Any) -> None:
        ask(signal.SIGTERM)
        ask_again(event)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append("cancelled")
            raise

    with client(address, "slow") as outcome:
        assert run(ipc_main, addresses=[address], drain=3600) == 128 + signal.SIGINT
    assert cancelled == ["cancelled"]
    assert [type(error) for error in outcome] == [ReplyNeverSent], outcome
    assert not os.path.exists(address.removeprefix("unix:"))
