"""One renderer's connection at the broker: its share of a turn, its end, and what dies with it."""

import asyncio
import gc
import logging
from collections.abc import Callable
from functools import partial

import pytest
from mainbus import IpcRenderer, ReplyNeverSent
from mainbus.wire.packets import MAIN, Kind, Message, build
from mainbus_broker import Config
from mainbus_broker.debts import MOST
from mainbus_broker.peer import Peer
from mainbus_broker.turns import TURN_BYTES, TURN_PACKETS

from tests.support.bus import Bus, Calls, until, within
from tests.support.raw import SEND, UNDELIVERABLE, Packet, fragments, raw


def abort(renderer: IpcRenderer) -> None:
    """End the connection without a word, as a killed process does."""
    assert renderer._session is not None
    assert renderer._session.link is not None
    renderer._session.link.abort()


def inject(renderer: IpcRenderer, *packets: bytes) -> None:
    """Write packets past all that the client checks and counts."""
    assert renderer._session is not None
    for packet in packets:
        renderer._session.outbox.put(packet)


# 9.4: nobody starves.


@pytest.mark.contract("9.4")
@pytest.mark.parametrize(("size", "most"), [(1, TURN_PACKETS), (10_000, TURN_BYTES // 10_000 + 1)])
async def test_a_flood_of_one_is_served_in_turns_with_the_others(size: int, most: int, address: str) -> None:
    assert (TURN_PACKETS, TURN_BYTES) == (128, 64 * 1024)
    async with Bus(address) as bus:
        flood, quiet, seen = await bus.renderer("flood"), await bus.renderer("quiet"), list[str | None]()
        bus.ipc_main.on("x", lambda event, value: seen.append(event.sender.name))
        number = 100 * most
        for _ in range(number):
            flood.send("x", "x" * size)
        for count in range(1, 6):
            quiet.send("x", "")
            await until(lambda count=count: seen.count("quiet") == count)  # type: ignore[misc]
            # One turn of the flood for each turn that the quiet one's bytes take to arrive.
            assert seen.count("flood") <= 4 * most * count
        await until(lambda: seen.count("flood") == number)


@pytest.mark.contract("9.4")
async def test_what_is_forwarded_is_served_in_turns_too(address: str) -> None:
    async with Bus(address) as bus:
        flood, quiet = await bus.renderer("flood"), await bus.renderer("quiet")
        seen: list[str] = []
        served: dict[str, int] = {"flood": 0}
        target = await bus.renderer("target")
        target.on("x", lambda event: seen.append(event.sender_name), senders="any")
        serve = bus.hub.router.serve

        def count(peer, head, data, at) -> None:  # type: ignore[no-untyped-def]
            served[peer.name] = served.get(peer.name, 0) + 1
            if peer.name == "quiet":
                order.append(served["flood"])
            serve(peer, head, data, at)

        order: list[int] = []
        for renderer in (flood, quiet):
            bus.peer(renderer).serve = count
        for _ in range(50 * TURN_PACKETS):
            flood.send_to("target", "x")
        quiet.send_to("target", "x")
        await until(lambda: len(seen) == 50 * TURN_PACKETS + 1)
        assert order[0] <= 4 * TURN_PACKETS


@pytest.mark.contract("9.4")
async def test_a_flood_that_is_put_aside_is_read_on(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        bus.ipc_main.on("x", heard)
        for number in range(3000):
            renderer.send("x", number)
        await heard.wait(3000)
        assert [args[0] for args in heard.args] == list(range(3000))
        assert bus.peer(renderer).is_read


@pytest.mark.contract("9.4")
async def test_the_beginning_of_a_packet_is_nothing_that_waits_for_its_turn(address: str) -> None:
    async with Bus(address) as bus, raw(address) as sender, raw(address) as target:
        peer = bus.hub.renderers.ids[sender.id]
        message = Packet(SEND, peer=target.id, channel=b"x", body=bytes(300_000))
        first, *rest = [part.encode() for part in fragments(message)]
        sender.write(first, rest[0][:24])
        await until(lambda: peer.wire.received == 2)
        # It is read on at once.
        assert (peer.is_read, bus.hub.load.hungry) == (True, 0)
        sender.write(rest[0][24:], *rest[1:])
        assert (await target.message(SEND)).body == message.body


# 9.5: who dies.


@pytest.mark.contract("9.5")
@pytest.mark.parametrize("part", [0, 1, 10, 24, 30])
async def test_one_that_dies_in_the_middle_of_a_packet_is_forgotten(part: int, address: str) -> None:
    async with Bus(address) as bus:
        renderer, other = await bus.renderer("editor", reconnect=False), await bus.renderer()
        heard, gone = Calls(), Calls()
        bus.ipc_main.on("x", heard)
        bus.contents(renderer).on("destroyed", gone)
        renderer.send("x", 1)
        inject(renderer, build(Kind.SEND, MAIN, 0, b"\x81\x02", channel=b"xxxxxxxx")[:part])
        await heard.wait()
        abort(renderer)
        await gone.wait()
        assert heard.args == [(1,)]
        assert bus.broker.web_contents.from_name("editor") is None
        await bus.served(other)


@pytest.mark.contract("9.5")
async def test_what_arrived_before_the_end_is_served(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()
        bus.ipc_main.on("x", heard)
        for number in range(10):
            renderer.send("x", number)
        await renderer.aclose()
        assert [args[0] for args in heard.args] == list(range(10))


@pytest.mark.contract("9.5")
async def test_calls_of_both_directions_fail_when_one_dies(address: str) -> None:
    async with Bus(address) as bus:
        victim, other = await bus.renderer("victim", reconnect=False), await bus.renderer("other")
        cancelled: list[str] = []
        begun = {name: Calls() for name in ("main", "other", "victim")}

        def waits(name: str):  # type: ignore[no-untyped-def]
            async def handler(event: object) -> None:
                begun[name](event)
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append(name)
                    raise

            return handler

        bus.ipc_main.handle("x", waits("main"))
        other.handle("x", waits("other"), senders="any")
        victim.handle("x", waits("victim"), senders="any")
        asked = [victim.invoke("x"), victim.invoke_to("other", "x")]
        owed = [bus.contents(victim).invoke("x"), other.invoke_to("victim", "x")]
        for name, count in (("main", 1), ("other", 1), ("victim", 2)):
            await begun[name].wait(count)
        abort(victim)
        for reply in owed:
            with pytest.raises(ReplyNeverSent, match=r"^Error invoking remote method 'x': reply was never sent$"):
                await within(reply)
        await until(lambda: len(cancelled) == 4)
        assert sorted(cancelled) == ["main", "other", "victim", "victim"]
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result).__name__ for result in results] == ["ConnectionLost", "ConnectionLost"]
        await bus.served(other)


# Its end, said or not.


async def test_a_half_closed_connection_is_closed(address: str) -> None:
    async with Bus(address) as bus:
        renderer, gone = await bus.renderer(reconnect=False), Calls()
        bus.contents(renderer).on("destroyed", gone)
        assert renderer._session is not None
        assert renderer._session.link is not None
        assert renderer._session.link.transport is not None
        renderer._session.link.transport.write_eof()
        await gone.wait()
        await until(lambda: not renderer.is_connected)


async def test_closing_twice_is_once(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Bus(address) as bus:
        renderer, told = await bus.renderer(reconnect=False), Calls()
        renderer.events.on("disconnected", told)
        peer = bus.peer(renderer)
        peer.close("first")
        peer.close("second", blame=True)
        assert await told.wait() == ("first",)
        assert len([record for record in caplog.records if record.getMessage().startswith("closing")]) == 1


@pytest.mark.parametrize("blame", [False, True])
async def test_who_is_to_blame_is_logged_louder(blame: bool, address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with Bus(address) as bus:
        renderer, told = await bus.renderer("editor", reconnect=False), Calls()
        renderer.events.on("disconnected", told)
        bus.peer(renderer).close("because", blame=blame)
        assert await told.wait() == ("because",)
        [record] = [record for record in caplog.records if "closing" in record.getMessage()]
        assert record.levelno == (logging.WARNING if blame else logging.INFO)
        assert "(editor)" in record.getMessage()
        assert "because" in record.getMessage()


async def test_nothing_is_served_behind_a_fault(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard, gone = await bus.renderer(reconnect=False), Calls(), Calls()
        bus.ipc_main.on("x", heard)
        bus.contents(renderer).on("destroyed", gone)
        good = build(Kind.SEND, MAIN, 0, b"\x80", channel=b"x")
        inject(renderer, good, build(99), good)
        await gone.wait()
        assert len(heard.calls) == 1


async def test_nothing_is_served_behind_a_goodbye(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard, gone = await bus.renderer(reconnect=False), Calls(), Calls()
        bus.ipc_main.on("x", heard)
        bus.contents(renderer).on("destroyed", gone)
        good = build(Kind.SEND, MAIN, 0, b"\x80", channel=b"x")
        inject(renderer, good, build(Kind.GOODBYE, MAIN), good)
        await gone.wait()
        await until(lambda: not renderer.is_connected)
        assert len(heard.calls) == 1


async def test_a_label_tells_who_it_is(address: str) -> None:
    async with Bus(address) as bus:
        named, nameless = bus.peer(await bus.renderer("editor")), bus.peer(await bus.renderer())
        assert named.label == f"renderer 1 (editor) pid {named.process.pid}"
        assert nameless.label == f"renderer 2 pid {named.process.pid}"


def noting(seen: list[int], usual: Callable[[Message], object]) -> Callable[[Message], object]:
    def handler(message: Message) -> object:
        seen.append(message[0])
        return usual(message)

    return handler


async def test_a_cancel_stands_behind_the_large_invoke_that_it_cancels(address: str) -> None:
    async with Bus(address) as bus:
        renderer, seen = await bus.renderer(), list[int]()
        renderer.handle("x", lambda event, value: None)
        assert renderer._session is not None
        handlers = renderer._session._handlers = renderer._session._make_handlers()
        for kind in (Kind.INVOKE, Kind.CANCEL):
            handlers[kind] = noting(seen, handlers[kind])
        reply = bus.contents(renderer).invoke("x", "x" * 2_000_000)
        # A part of it has left.
        await until(lambda: bus.peer(renderer).outbox.handed > 300_000)
        reply.cancel()
        await until(lambda: seen == [Kind.INVOKE, Kind.CANCEL])
        await bus.reached(renderer)


# Debts: who keeps others waiting waits the longer.


async def test_who_has_to_wait_for_its_debts_is_forgotten_when_it_is_closed(address: str) -> None:
    async with Bus(address) as bus, raw(address, "debtor") as debtor:
        process = bus.hub.renderers.ids[debtor.id].process
        assert bus.hub.debts.charge(process, MOST)
        to_nobody = Packet(SEND, peer=99, channel=b"x")
        debtor.write(to_nobody, to_nobody)
        await debtor.next(UNDELIVERABLE)
        bus.hub.renderers.ids[debtor.id].contents.close("tested")
        debtor.writer.transport.abort()
        await until(lambda: not bus.hub.leaving)
        bus._peers.clear()
        gc.collect()
        assert [each.name for each in gc.get_objects() if isinstance(each, Peer)] == []


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("size", [10, 1000, 500_000])
async def test_all_bytes_of_answers_are_counted_whoever_answers(address: str, size: int) -> None:
    async with Bus(address, config=Config(shared_memory=False)) as bus:
        caller, other = await bus.renderer(), await bus.renderer("other")
        bus.ipc_main.handle("large", lambda event: bytes(size))
        other.handle("large", lambda event: bytes(size), senders="any")
        for reply in (partial(caller.invoke, "large"), partial(caller.invoke_to, "other", "large")):
            # The first one notes that they have to do with each other; the next takes the short way.
            await reply()
            before = bus.peer(caller).unread
            await reply()
            assert size < bus.peer(caller).unread - before < size + 1000
