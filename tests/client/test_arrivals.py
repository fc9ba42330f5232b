"""Arrivals: what a renderer does with what it is sent, sender by sender, and with senders that misbehave."""

import asyncio
import logging
from typing import Any

import mainbus
import pytest
from mainbus.arrivals import HIGH
from mainbus_broker import Config, Limits
from mainbus_broker.peer import Peer

from tests.support import raw as wire
from tests.support.bus import Bus, Calls, until, within
from tests.support.raw import Packet, raw


@pytest.mark.contract("3.2", "3.11")
async def test_handlers_answer_whatever_kind_of_callable_they_are(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()

        async def coroutine(event: Any, value: int) -> int:
            await asyncio.sleep(0)
            return value + 1

        def returns_an_awaitable(event: Any, value: int) -> Any:
            return coroutine(event, value)

        renderer.handle("plain", lambda event, value: value + 1)
        renderer.handle("coroutine", coroutine)
        renderer.handle("awaitable", returns_an_awaitable)
        renderer.handle("thread", lambda event, value: value + 1, thread=True)
        contents = bus.contents(renderer)
        for channel in ("plain", "coroutine", "awaitable", "thread"):
            assert await within(contents.invoke(channel, 1)) == 2


@pytest.mark.contract("5.1", "5.2", "5.4")
async def test_errors_of_a_renderers_handler_reach_main_and_other_renderers(address: str) -> None:
    async with Bus(address) as bus:
        caller, callee = await bus.renderer("caller"), await bus.renderer("callee")

        def fail(event: Any) -> None:
            raise ValueError("some error")

        callee.handle("fail", fail, senders="any")
        callee.handle("function", lambda event: fail, senders="any")
        callee.handle("one", lambda event, value: value, senders="any")
        for invoke in (bus.contents(callee).invoke, lambda *args: caller.invoke_to("callee", *args)):
            with pytest.raises(ValueError, match=r"^Error invoking remote method 'fail': ValueError: some error$"):
                await invoke("fail")
            with pytest.raises(mainbus.NoHandlerError, match="No handler registered for 'nope'"):
                await invoke("nope")
            with pytest.raises(mainbus.RemoteError, match=r"An object could not be cloned\. \(result: function\)"):
                await invoke("function")
            with pytest.raises(mainbus.ValidationError):
                await invoke("one")


@pytest.mark.contract("5.1")
async def test_what_a_handler_raises_is_logged_and_what_mainbus_refuses_is_not(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bus(address) as bus:
        caller, callee = await bus.renderer("caller"), await bus.renderer("callee")
        started = asyncio.Event()

        async def fail(event: Any) -> None:
            await asyncio.sleep(0)
            raise ValueError("some error")

        async def wait(event: Any) -> None:
            started.set()
            await asyncio.Event().wait()

        callee.handle("fail", fail, senders="any")
        callee.handle("wait", wait, senders="any")
        callee.handle("odd", lambda event: print, senders="any")
        for invoke in (bus.contents(callee).invoke, lambda *args: caller.invoke_to("callee", *args)):
            for channel, args in (("fail", ()), ("fail", (1,)), ("nope", ()), ("odd", ())):
                with pytest.raises(mainbus.MainbusError):
                    await invoke(channel, *args)
        waiting = caller.invoke_to("callee", "wait")
        await started.wait()
        waiting.cancel()
        with pytest.raises(mainbus.NoHandlerError):
            await caller.invoke_to("callee", "behind the cancel")
        logged = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert [
            (record.name, record.getMessage(), type(record.exc_info and record.exc_info[1])) for record in logged
        ] == [
            ("mainbus", f"Error occurred in handler for {channel!r}, invoked by {who}", error)
            for who in ("the main process", f"renderer {caller.id} (caller)")
            for channel, error in (("fail", ValueError), ("odd", mainbus.CloneError))
        ]


async def test_a_listener_that_raises_is_logged_and_the_others_still_run(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Calls()

        def fail(event: Any, *_: object) -> None:
            raise ValueError("some error")

        async def fail_later(event: Any, *_: object) -> None:
            await asyncio.sleep(0)
            raise ValueError("a later error")

        for listener in (fail, fail_later, lambda event: None, heard):
            renderer.on("item", listener)
        bus.contents(renderer).send("item", 1)
        await heard.wait()
        await until(lambda: caplog.text.count("a listener of channel 'item' failed") == 3)
        assert "some error" in caplog.text
        assert "a later error" in caplog.text
        assert "the main process" in caplog.text


@pytest.mark.contract("9.5", "5.7")
async def test_a_caller_that_leaves_cancels_what_runs_for_it_and_nothing_else(address: str) -> None:
    async with Bus(address) as bus:
        callee, stays = await bus.renderer("callee"), await bus.renderer("stays")
        log: list[str] = []
        go = asyncio.Event()

        async def handler(event: Any) -> str:
            try:
                await go.wait()
            except asyncio.CancelledError:
                log.append(event.sender_name)
                raise
            return "done"

        callee.handle("wait", handler, senders="any")
        async with mainbus.connect(address, name="leaves") as leaves:
            left = leaves.invoke_to("callee", "wait")
            kept = stays.invoke_to("callee", "wait")
            await until(lambda: callee.stats()["running"] == 2)
        await until(lambda: log)
        with pytest.raises(mainbus.ConnectionLost):
            await left
        go.set()
        assert await within(kept) == "done"
        assert log == ["leaves"]


@pytest.mark.contract("9.1", "9.2")
async def test_a_renderer_that_is_slow_pauses_main_and_loses_nothing(address: str) -> None:
    async with Bus(address) as bus:
        renderer, go, got = await bus.renderer(), asyncio.Event(), []
        contents = bus.contents(renderer)

        async def slow(event: Any, number: int, _: bytes) -> None:
            got.append(number)
            await go.wait()

        renderer.on("item", slow)
        renderer.handle("ask", lambda event: len(got))
        count = 256 + 4 * HIGH // 65_536
        try:
            for number in range(count):
                contents.send("item", number, b"x" * 65_536)
                await asyncio.sleep(0)
            await until(lambda: bus.peer(renderer).route.paused)
            assert len(got) == 256
        finally:
            go.set()
        await within(contents.drain())
        assert await within(contents.invoke("ask")) == count
        assert got == list(range(count))


@pytest.mark.contract("9.2", "9.4")
async def test_a_slow_listener_for_one_sender_holds_up_no_other_sender(address: str) -> None:
    async with Bus(address) as bus:
        one, two, target = [await bus.renderer(name) for name in ("one", "two", "target")]
        go = asyncio.Event()

        async def slow(event: Any, number: int) -> None:
            await go.wait()

        target.on("slow", slow, senders="renderers")
        target.handle("ask", lambda event: event.sender_id, senders="any")
        try:
            for number in range(400):
                one.send_to("target", "slow", number)
            await until(lambda: target.stats()["running"] == 256)
            assert await within(two.invoke_to("target", "ask")) == two.id
            assert await within(bus.contents(target).invoke("ask")) == 0
        finally:
            go.set()
        assert await within(one.invoke_to("target", "ask")) == one.id


@pytest.mark.contract("3.1", "2.19")
async def test_what_comes_before_the_opener_suspends_waits_in_order(address: str) -> None:
    async with Bus(address) as bus:
        log: list[object] = []
        asked: list[Any] = []

        def created(contents: Any) -> None:
            contents.send("item", 1)
            asked.append(contents.invoke("ask"))
            contents.send("item", 2)

        bus.broker.on("web-contents-created", created)
        renderer = mainbus.connect(address)
        renderer.handle("ask", lambda event: log.append("ask"))
        async with renderer:
            renderer.on("item", lambda event, number: log.append(number))
            await within(asked[0])
            await until(lambda: 2 in log)
            assert log == [1, "ask", 2]


# Senders that misbehave: hand-built packets.


@pytest.mark.contract("3.12", "8.7")
async def test_a_body_that_does_not_decode_is_reported_and_costs_its_sender_the_connection(address: str) -> None:
    async with Bus(address) as bus:
        target, told, heard = await bus.renderer("target"), Calls(), Calls()
        target.events.on("message-error", told)
        target.on("item", heard, senders="any")
        async with raw(address, "sender") as sender:
            sender.write(Packet(wire.SEND, peer=target.id, channel=b"item", body=b"\xff\xff"))
            assert await told.wait() == (sender.id, "item")
            assert (await sender.rest())[-1].kind == wire.GOODBYE
        assert target.is_connected
        assert not heard.calls
        assert bus.broker.stats()["bad_messages"] == 1


@pytest.mark.contract("8.7")
async def test_an_invoke_that_does_not_decode_is_answered_with_bad_message(address: str) -> None:
    async with Bus(address) as bus:
        target, handled = await bus.renderer("target"), Calls()
        target.handle("ask", handled, senders="any")
        async with raw(address, "sender") as sender:
            sender.write(Packet(wire.INVOKE, peer=target.id, request=5, channel=b"ask", body=b"\xa0"))
            answer = await sender.next(wire.ERROR)
            assert (answer.request, answer.value) == (5, mainbus.BadMessage.wire_code)
            await sender.rest()
        assert target.is_connected
        assert not handled.calls


@pytest.mark.contract("8.7", "9.1")
async def test_a_result_that_does_not_decode_fails_the_call_and_not_the_caller(address: str) -> None:
    async with Bus(address) as bus:
        caller, told = await bus.renderer("caller"), Calls()
        caller.events.on("message-error", told)
        async with raw(address, "callee") as callee:
            reply = caller.invoke_to("callee", "ask")
            request = await callee.next(wire.INVOKE)
            callee.write(Packet(wire.RESULT, peer=request.peer, request=request.request, body=b"\xff"))
            with pytest.raises(mainbus.BadMessage):
                await within(reply)
            assert (await told.wait())[0] == callee.id
            await callee.rest()
        assert caller.is_connected


@pytest.mark.contract("9.3", "9.1")
async def test_more_invokes_than_the_credit_are_refused_one_by_one(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=3))) as bus:
        target, go = await bus.renderer("target"), asyncio.Event()

        async def handler(event: Any) -> None:
            await go.wait()

        target.handle("wait", handler, senders="any")
        async with raw(address, "sender") as sender:
            sender.write(
                *(
                    Packet(wire.INVOKE, peer=target.id, request=number, channel=b"wait", body=b"\x80")
                    for number in range(1, 6)
                )
            )
            refused = [await sender.next(wire.ERROR, wire.RESULT) for _ in range(2)]
            assert [(packet.request, packet.value) for packet in refused] == [
                (number, mainbus.TooManyRequests.wire_code) for number in (4, 5)
            ]
            go.set()
            done = [await sender.next(wire.ERROR, wire.RESULT) for _ in range(3)]
            assert sorted((packet.kind, packet.request) for packet in done) == [(wire.RESULT, n) for n in (1, 2, 3)]


@pytest.mark.contract("3.2")
async def test_a_renderer_cannot_say_that_it_is_main(address: str) -> None:
    async with Bus(address) as bus:
        target, heard, everybody = await bus.renderer("target"), Calls(), Calls()
        target.on("item", heard)
        target.on("item", everybody, senders="any")
        async with raw(address, "sender") as sender:
            # Names in what it sends say whom it is for, never who it is.
            sender.write(Packet(wire.SEND, flags=wire.BY_NAME, name=b"target", channel=b"item", body=b"\x80"))
            (event,) = await everybody.wait()
            assert (event.sender_id, event.sender_name) == (sender.id, "sender")
        assert not heard.calls


async def test_inboxes_of_many_senders_are_not_kept_forever(address: str) -> None:
    async with Bus(address) as bus:
        target = await bus.renderer("target")
        arrivals = target._arrivals
        for number in range(1, 3000):
            arrivals._inbox(number)
        assert len(arrivals._inboxes) <= 1025
        assert await bus.contents(target).invoke("bus:ping") is None


@pytest.mark.contract("9.2")
async def test_the_sender_goes_on_when_the_renderer_has_taken_enough(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with Bus(address) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        step, got = asyncio.Semaphore(0), []

        async def slow(event: Any, number: int, _: bytes) -> None:
            await step.acquire()
            got.append(number)

        target.on("item", slow, senders="any")
        count = 256 + 6 * HIGH // 65_536
        for number in range(count):
            source.send_to("target", "item", number, b"x" * 65_536)
        peer: Peer = bus.peer(target)
        await until(lambda: peer.pausing)
        for _ in range(count):
            step.release()
        await within(source.drain("target"))
        await until(lambda: len(got) == count)
        assert sorted(got) == list(range(count))
        assert not peer.pausing
        assert not caplog.records
