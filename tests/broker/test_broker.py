"""A broker from its start to its end: addresses, events, statistics, and renderers that it spawns."""

import asyncio
import signal
from pathlib import Path

import mainbus
import pytest
from mainbus import AddressError, ConnectRefused, LocalProtocolError, Registration
from mainbus.address import default_address
from mainbus.wire.messages import Hello, pack
from mainbus_broker import Broker, Config, IpcMain, Limits, WebContents

from tests.support import bare
from tests.support.bus import Bus, Calls, Program, program, until, within
from tests.support.leaks import child_processes

# 2.1: what it is made of.


@pytest.mark.contract("2.1")
async def test_it_serves_while_its_context_lasts(address: str) -> None:
    ipc_main = IpcMain()
    ipc_main.handle("x", lambda event: "here")
    broker = Broker(address, ipc_main=ipc_main)
    assert broker.addresses == []
    async with broker as entered:
        assert entered is broker
        assert broker.ipc_main is ipc_main
        assert broker.addresses == [address]
        async with mainbus.connect(address) as renderer:
            assert await renderer.invoke("x") == "here"
    assert broker.addresses == []
    with pytest.raises(ConnectRefused):
        _ = await mainbus.connect(address)


@pytest.mark.contract("2.1")
async def test_it_has_an_ipc_main_and_config_of_its_own(address: str) -> None:
    one, two = Broker(address), Broker(address)
    assert isinstance(one.ipc_main, IpcMain)
    assert one.ipc_main is not two.ipc_main
    assert one.config == Config()
    config = Config(cancel_grace=1.0)
    assert Broker(address, config=config).config is config


@pytest.mark.contract("2.1")
async def test_an_empty_ipc_main_is_used_all_the_same(address: str) -> None:
    ipc_main = IpcMain()
    assert Broker(address, ipc_main=ipc_main).ipc_main is ipc_main


@pytest.mark.contract("2.1")
async def test_several_addresses_lead_to_one_broker(address: str) -> None:
    other = f"{address}2"
    async with Broker(address, other) as broker:
        assert broker.addresses == [address, other]
        async with mainbus.connect(address) as one, mainbus.connect(other) as two:
            assert [peer.id for peer in await one.peers()] == [two.id]


@pytest.mark.contract("2.1", "8.2")
async def test_without_an_address_it_is_the_default_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    async with Broker() as broker:
        assert broker.addresses == [str(default_address())]
        assert broker.addresses == [f"unix:{tmp_path}/mainbus/default.sock"]
        async with mainbus.connect() as renderer:
            assert renderer.is_connected


@pytest.mark.contract("2.1")
async def test_a_broken_address_is_refused_at_once() -> None:
    with pytest.raises(AddressError):
        Broker("nonsense")


@pytest.mark.contract("2.1")
async def test_a_start_that_fails_leaves_nothing_behind(address: str) -> None:
    other = f"{address}2"
    async with Broker(other):
        broker = Broker(address, other)
        with pytest.raises(AddressError):
            await broker.start()
        assert broker.addresses == []
        async with Broker(address):
            pass
    async with broker:
        assert broker.addresses == [address, other]


@pytest.mark.contract("2.1")
async def test_it_installs_no_signal_handler(address: str) -> None:
    def handlers() -> list[object]:
        return [signal.getsignal(number) for number in signal.valid_signals()]

    before = handlers()
    async with Broker(address) as broker:
        waiting = asyncio.ensure_future(broker.serve_forever())
        await asyncio.sleep(0)
        assert handlers() == before
        await broker.stop()
        await waiting
    assert handlers() == before


@pytest.mark.contract("2.1")
async def test_it_cannot_be_started_twice(address: str) -> None:
    async with Broker(address) as broker:
        with pytest.raises(LocalProtocolError):
            await broker.start()
        assert broker.addresses == [address]


@pytest.mark.contract("2.1")
async def test_before_the_start_and_after_the_end_there_is_nothing_to_ask(address: str) -> None:
    broker = Broker(address)
    await broker.stop()
    for _ in range(2):
        with pytest.raises(LocalProtocolError):
            broker.stats()
        with pytest.raises(LocalProtocolError):
            _ = broker.web_contents
        with pytest.raises(LocalProtocolError):
            await broker.serve_forever()
        with pytest.raises(LocalProtocolError):
            await broker.spawn(["true"])
        async with broker:
            pass


@pytest.mark.contract("2.1")
async def test_it_can_be_started_again(address: str) -> None:
    broker = Broker(address)
    broker.ipc_main.handle("x", lambda event: event.sender.id)
    for _ in range(2):
        async with broker, mainbus.connect(address) as renderer:
            assert await renderer.invoke("x") == 1
            assert broker.stats()["connections"] == 1


# 2.1: its events and statistics.


@pytest.mark.contract("2.1", "2.3")
async def test_its_events_have_electrons_verbs(address: str) -> None:
    broker = Broker(address)
    told, once, never = Calls(), Calls(), Calls()
    registration = broker.on("web-contents-created", told)
    assert isinstance(registration, Registration)
    assert broker.on("web-contents-created")(never) is never
    broker.off("web-contents-created", never)
    broker.once("web-contents-created", once)
    assert broker.once("web-contents-created")(never) is never
    broker.off("web-contents-created", never)
    for verb in (broker.on, broker.once, broker.off):
        with pytest.raises(ValueError, match="no-such-event"):
            verb("no-such-event", told)
    async with broker:
        async with mainbus.connect(address, name="one"):
            pass
        async with mainbus.connect(address, name="two"):
            registration.cancel()
            async with mainbus.connect(address):
                pass
    assert [contents.name for (contents,) in told.calls] == ["one", "two"]
    assert [contents.name for (contents,) in once.calls] == ["one"]
    assert never.calls == []


@pytest.mark.contract("2.1")
async def test_who_hears_of_new_contents_may_use_them_at_once(address: str) -> None:
    async with Bus(address) as bus:
        heard = Calls()

        def greet(contents: WebContents) -> None:
            assert contents in bus.broker.web_contents.get_all_web_contents()
            contents.data["greeted"] = True
            contents.ipc.handle("scoped", lambda event: contents.data)
            contents.send("hello", contents.id)

        bus.broker.on("web-contents-created", greet)
        renderer = mainbus.connect(address)
        renderer.on("hello", heard)
        async with renderer:
            assert await renderer.invoke("scoped") == {"greeted": True}
            assert (await heard.wait())[1:] == (renderer.id,)


@pytest.mark.contract("2.1", "2.12")
async def test_who_hears_of_new_contents_may_close_them_with_a_reason(address: str) -> None:
    async with Bus(address) as bus:
        bus.broker.on("web-contents-created", lambda contents: contents.close("not you"))
        renderer, told = mainbus.connect(address, reconnect=False), Calls()
        renderer.events.on("disconnected", told)
        async with renderer:
            assert await told.wait() == ("not you",)


@pytest.mark.contract("2.1")
async def test_its_statistics_follow_what_happens(address: str) -> None:
    async with Bus(address) as bus:
        stats = bus.broker.stats
        assert set(stats().values()) == {0}
        assert all(type(value) is int for value in stats().values())
        one, two, release = await bus.renderer("one"), await bus.renderer("two"), asyncio.Event()

        async def wait(event: object) -> None:
            await release.wait()

        bus.ipc_main.handle("wait", wait)
        two.handle("wait", wait, senders="any")
        with pytest.raises(mainbus.NameTaken):
            _ = await mainbus.connect(address, name="two")
        replies = [one.invoke("wait"), one.invoke_to("two", "wait"), one.invoke_to(two.id, "wait")]
        await until(lambda: two.stats()["running"] == 2)
        assert stats() | {"connections": 2, "renderers": 2, "refused": 1, "running": 1, "pending_replies": 2} == stats()
        release.set()
        await asyncio.gather(*replies)
        await two.aclose()
        assert stats() | {"connections": 2, "renderers": 1, "running": 0, "pending_replies": 0} == stats()


@pytest.mark.contract("2.1")
async def test_a_stranger_who_says_nothing_is_sent_away(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(handshake_timeout=0.01))) as bus:
        reader, writer = await bare.connect(address)
        assert b"no hello in 0.01 s" in await within(reader.read())
        writer.close()
        await writer.wait_closed()
        assert bus.broker.stats()["refused"] == 1
        assert not bus.hub.entering


# 2.21: spawn.

SAYS_NAME = """
async def main():
    first = "MAINBUS_TOKEN" in os.environ, "MAINBUS_ADDRESS" in os.environ
    async with mainbus.connect(name="chosen by itself") as renderer:
        await renderer.invoke("seen", *first, "MAINBUS_TOKEN" in os.environ, os.environ["EXTRA"])
        await forever()

asyncio.run(main())
"""

USES_TOKEN_TWICE = """
async def main():
    token = os.environ["MAINBUS_TOKEN"]
    async with mainbus.connect() as renderer:
        try:
            _ = await mainbus.connect(token=token)
        except mainbus.ConnectRefused as error:
            await renderer.invoke("seen", str(error))

asyncio.run(main())
"""


@pytest.mark.contract("2.21")
async def test_spawn_gives_address_and_token_and_returns_process_and_contents(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXTRA", "inherited")
    async with Bus(address) as bus:
        seen = Calls()
        bus.ipc_main.handle("seen", seen)
        process, contents = await bus.broker.spawn(program(SAYS_NAME), "given", "tester")
        try:
            assert (contents.name, contents.role) == ("given", "tester")
            assert contents.process.pid == process.pid
            assert bus.broker.web_contents.from_name("given") is contents
            event, *args = await seen.wait()
            assert args == [True, True, False, "inherited"]
            assert event.sender is contents
        finally:
            process.kill()
            await process.wait()
        await until(contents.is_destroyed)


@pytest.mark.contract("2.21")
async def test_a_token_works_once(address: str) -> None:
    async with Bus(address) as bus:
        seen = Calls()
        bus.ipc_main.handle("seen", seen)
        process, _ = await bus.broker.spawn(program(USES_TOKEN_TWICE))
        [text] = (await seen.wait())[1:]
        assert "token" in text
        assert await within(process.wait()) == 0
        assert bus.broker.stats()["refused"] == 1


@pytest.mark.contract("2.21")
async def test_a_token_that_nobody_gave_out_is_refused(address: str) -> None:
    async with Bus(address):
        with pytest.raises(ConnectRefused, match="token"):
            _ = await mainbus.connect(address, token="guessed")


@pytest.mark.contract("2.21")
async def test_spawn_says_when_the_program_cannot_be_started_or_never_connects(address: str) -> None:
    async with Bus(address) as bus:
        with pytest.raises(FileNotFoundError):
            await bus.broker.spawn(["/no/such/program"])
        with pytest.raises(ChildProcessError, match="3"):
            await bus.broker.spawn(program("sys.exit(3)"))
        with pytest.raises(TimeoutError):
            await bus.broker.spawn(program("asyncio.run(forever())"), timeout=0.01)
        assert not bus.hub.tokens._open
        assert not bus.hub.tokens._waiting


@pytest.mark.contract("2.21")
async def test_cancelling_spawn_kills_the_process(address: str) -> None:
    async with Bus(address) as bus:
        spawning = asyncio.ensure_future(bus.broker.spawn(["sleep", "1000"]))
        await until(child_processes)
        spawning.cancel()
        with pytest.raises(asyncio.CancelledError):
            await spawning
        await until(lambda: not child_processes())


async def test_a_program_of_the_tests_talks_in_lines(address: str) -> None:
    async with Program("say(*sys.argv[1:]); sys.exit(7)", "a", "b") as script:
        assert await script.line() == "a b"
        assert await script.end() == 7
        with pytest.raises(AssertionError, match="7"):
            await script.line()


async def test_a_hello_that_nobody_understands_is_refused_by_name(address: str) -> None:
    async with Bus(address) as bus:
        reader, writer = await bare.connect(address)
        writer.write(pack(Hello(version=99)))
        assert b"99" in await within(reader.read())
        writer.close()
        await writer.wait_closed()
        assert bus.broker.stats()["refused"] == 1
