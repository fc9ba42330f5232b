"""Listening at a named pipe: who may open it, who may have the name, and how many come at once."""

import _winapi
import asyncio
import os
import sys
from typing import Any

import mainbus
import pytest
from mainbus import AddressError, windows
from mainbus.address import parse
from mainbus.transports.pipe import open_pipe
from mainbus_broker import Broker
from mainbus_broker.listeners import listen
from mainbus_broker.listeners.pipe import WAITING

from tests.support import bare
from tests.support.bus import Bus, Program, until, within

assert sys.platform == "win32"


class Instances:
    """What was asked of the system for each instance of a pipe."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.handles: list[int] = []
        real = _winapi.CreateNamedPipe

        def create(*args: Any) -> int:
            handle = real(*args)
            self.asked.append(args)
            self.handles.append(handle)
            return handle

        monkeypatch.setattr(_winapi, "CreateNamedPipe", create)


@pytest.mark.contract("8.1", "8.3")
async def test_what_is_asked_of_the_system(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wine enforces neither access lists nor first instances, and has no remote clients: so, what was asked."""
    instances = Instances(monkeypatch)
    listener = await listen(parse(address), asyncio.Protocol)
    user = windows.current_user()
    for handle in instances.handles:
        text = windows.descriptor_of(handle).replace("FA", "GA")
        assert text == f"O:{user}D:P(A;;GA;;;{user})(A;;GA;;;SY)"
    first = _winapi.FILE_FLAG_FIRST_PIPE_INSTANCE
    assert [bool(args[1] & first) for args in instances.asked] == [True] + [False] * (WAITING - 1)
    assert all(args[2] & 8 for args in instances.asked), "PIPE_REJECT_REMOTE_CLIENTS"
    await listener.aclose()
    with pytest.raises(FileNotFoundError):
        open_pipe(parse(address))


@pytest.mark.contract("8.3")
async def test_a_second_broker_is_refused_with_the_pid_of_the_first(address: str) -> None:
    async with Bus(address) as bus:
        with pytest.raises(AddressError) as caught:
            await Broker(address).start()
        assert (caught.value.address, caught.value.pid) == (address, os.getpid())
        assert str(os.getpid()) in str(caught.value)
        await bus.served(await bus.renderer())


@pytest.mark.contract("8.3")
async def test_who_comes_second_at_the_same_moment_is_refused_too(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So Windows answers where the first instance is not the first."""

    def create(*args: Any) -> int:
        raise PermissionError(13, "Access is denied", None, 5)

    monkeypatch.setattr(_winapi, "CreateNamedPipe", create)
    with pytest.raises(AddressError, match="in use by another program"):
        await listen(parse(address), asyncio.Protocol)


async def test_a_name_is_free_again_once_all_have_gone(address: str) -> None:
    for _ in range(3):
        async with Bus(address) as bus:
            await bus.served(await bus.renderer())


@pytest.mark.contract("9.8")
async def test_who_comes_while_it_stops_is_turned_away_at_once(address: str) -> None:
    listener = await listen(parse(address), asyncio.Protocol)
    listener.stop_accepting()
    for _ in range(2 * WAITING):
        reader, writer = await within(bare.connect(address))
        assert await within(reader.read()) == b""
        writer.close()
    await listener.aclose()


async def test_an_instance_that_cannot_be_made_is_tried_again(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mainbus_broker.listeners.pipe._RETRY", 0.01)
    async with Bus(address) as bus:

        def create(*args: Any) -> int:
            raise OSError(12, "Not enough memory", None, 8)

        with monkeypatch.context() as patch:
            patch.setattr(_winapi, "CreateNamedPipe", create)
            first = await bus.renderer()
            assert "cannot make another instance of the pipe" in caplog.text
        await bus.served(first)
        await until(lambda: len(bus.broker._listeners[0]._accepting) == WAITING)  # type: ignore[attr-defined]


@pytest.mark.contract("2.12", "8.1")
async def test_the_system_says_who_connects(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        process = bus.contents(renderer).process
        assert (process.pid, process.uid, process.gid) == (os.getpid(), windows.current_user(), None)
        assert process.executable == windows.executable_of(os.getpid())
        renderer_program = """
            async def main():
                async with mainbus.connect(sys.argv[1], name="there"):
                    say(os.getpid())
                    await forever()

            asyncio.run(main())
        """
        async with Program(renderer_program, address) as program:
            pid = int(await program.line())
            contents = bus.broker.web_contents.from_name("there")
            assert contents is not None
            assert contents.process.pid == pid
            program.kill()
        await until(lambda: bus.broker.web_contents.from_name("there") is None)


async def test_a_hundred_at_once(address: str) -> None:
    async with Bus(address) as bus:
        bus.ipc_main.handle("echo", lambda event, value: value)

        async def one(number: int) -> int:
            async with mainbus.connect(address) as renderer:
                found: int = await renderer.invoke("echo", number)
                return found

        assert await within(asyncio.gather(*map(one, range(100)))) == list(range(100))


async def test_a_thousand_connect_and_close(address: str) -> None:
    async with Bus(address) as bus:
        for _ in range(1000):
            renderer = await mainbus.connect(address)
            await renderer.aclose()
        assert bus.broker.stats()["connections"] == 1000
        await until(lambda: not bus.hub.leaving)
