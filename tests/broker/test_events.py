"""What listeners and handlers are called with, and how `return_value` answers a `send_sync`."""

import asyncio
import gc
import logging
import os
import threading
from typing import Any

import pytest
from mainbus import InvokeTimeout, IpcRenderer, ObjectDestroyedError, RemoteError, ReplyNeverSent, ValidationError
from mainbus_broker import Config, IpcMainEvent, IpcMainInvokeEvent
from mainbus_broker.events import SyncReply

from tests.support.bus import Bus, Calls, in_thread, until, within

NEVER = "Error invoking remote method 'x': reply was never sent"


async def outcome(address: str, *args: object, **options: Any) -> tuple[object, BaseException | None]:
    """Return what a `send_sync` of channel x returned or raised."""

    def use(renderer: IpcRenderer) -> tuple[object, BaseException | None]:
        try:
            return renderer.send_sync("x", *args, **options), None
        except Exception as error:
            return None, error.with_traceback(None)

    told: tuple[object, BaseException | None] = await in_thread(address, use)
    return told


# 2.11: what an event carries.


@pytest.mark.contract("2.11")
@pytest.mark.parametrize("verb", ["send", "post_message"])
async def test_a_listeners_event(verb: str, address: str) -> None:
    async with Bus(address) as bus:
        renderer, told = await bus.renderer("editor"), Calls()
        bus.ipc_main.on("x", told)
        getattr(renderer, verb)("x", 1)
        event, value = await told.wait()
        contents = bus.contents(renderer)
        assert value == 1
        assert type(event) is IpcMainEvent
        assert (event.channel, event.process_id, event.frame_id, event.ports) == ("x", os.getpid(), 0, [])
        assert event.sender is contents
        assert event.sender_frame is contents.main_frame
        assert event.return_value is None
        event.return_value = "nobody waits for this"
        assert not hasattr(event, "request_id")


@pytest.mark.contract("2.11")
async def test_a_handlers_event(address: str) -> None:
    async with Bus(address) as bus:
        renderer, told = await bus.renderer(), Calls()
        bus.ipc_main.handle("x", told)
        before = asyncio.get_running_loop().time()
        await renderer.invoke("x", 1, timeout=1000)
        await renderer.invoke("x", 2)
        after = asyncio.get_running_loop().time()
        event: IpcMainInvokeEvent
        other: IpcMainInvokeEvent
        (event, first), (other, second) = told.calls
        assert (first, second) == (1, 2)
        assert type(event) is IpcMainInvokeEvent
        assert (event.channel, event.process_id, event.frame_id) == ("x", os.getpid(), 0)
        assert event.sender is bus.contents(renderer)
        assert event.sender_frame is bus.contents(renderer).main_frame
        assert event.deadline is not None
        assert before + 1000 <= event.deadline <= after + 1000.001
        assert other.deadline is None
        assert isinstance(event.request_id, int)
        assert event.request_id != other.request_id
        assert not any(hasattr(event, name) for name in ("reply", "ports", "return_value"))


@pytest.mark.contract("2.11")
async def test_identity_is_fixed_at_receipt_and_outlives_the_sender(address: str) -> None:
    async with Bus(address) as bus:
        renderer, told, gone = await bus.renderer("editor"), Calls(), Calls()
        bus.ipc_main.on("x", told)
        bus.contents(renderer).on("destroyed", gone)
        renderer.send("x")
        (event,) = await told.wait()
        contents = event.sender
        await renderer.aclose()
        await gone.wait()
        another = await bus.renderer("editor")
        assert event.sender is contents
        assert event.sender is not bus.contents(another)
        assert (event.sender.name, event.process_id, event.frame_id) == ("editor", os.getpid(), 0)
        assert event.sender_frame is None
        with pytest.raises(ObjectDestroyedError, match=r"^Object has been destroyed$"):
            event.reply("y")


@pytest.mark.contract("2.11")
async def test_reply_goes_back_to_the_sender_only(address: str) -> None:
    async with Bus(address) as bus:
        renderer, other = await bus.renderer(), await bus.renderer()
        told, never = Calls(), Calls()
        renderer.on("answer", told)
        other.on("answer", never)
        bus.ipc_main.on("ask", lambda event, value: event.reply("answer", value, [value]))
        renderer.send("ask", 7)
        event, *args = await told.wait()
        assert args == [7, [7]]
        assert event.sender_id == 0
        await bus.reached(other)
        assert never.calls == []


# 5.6 and 2.18: the value that a blocked renderer waits for.


@pytest.mark.contract("5.6")
async def test_the_first_assignment_wins(address: str) -> None:
    async with Bus(address) as bus:
        values: list[object] = []

        def first(event: IpcMainEvent) -> None:
            event.return_value = {"n": 1}
            event.return_value = 2
            values.append(event.return_value)

        def second(event: IpcMainEvent) -> None:
            event.return_value = 3
            values.append(event.return_value)

        bus.ipc_main.on("x", first)
        bus.ipc_main.on("x", second)
        assert await outcome(address) == ({"n": 1}, None)
        assert values == [{"n": 1}, {"n": 1}]


@pytest.mark.contract("5.6")
@pytest.mark.parametrize("value", [None, False, 0, ""])
async def test_an_empty_value_is_an_answer_too(value: object, address: str) -> None:
    async with Bus(address) as bus:

        def listener(event: IpcMainEvent) -> None:
            event.return_value = value
            event.return_value = "too late"

        bus.ipc_main.on("x", listener)
        assert await outcome(address) == (value, None)


@pytest.mark.contract("5.6")
async def test_a_coroutine_may_answer_and_so_may_whoever_keeps_the_event(address: str) -> None:
    async with Bus(address) as bus:

        async def listener(event: IpcMainEvent, value: int) -> None:
            await asyncio.sleep(0)
            event.return_value = value + 1

        registration = bus.ipc_main.on("x", listener)
        assert await outcome(address, 1) == (2, None)
        registration.cancel()
        loop = asyncio.get_running_loop()
        bus.ipc_main.on("x", lambda event, value: loop.call_soon(setattr, event, "return_value", value))
        assert await outcome(address, 1) == (1, None)


@pytest.mark.contract("5.6", "2.10")
async def test_a_listener_in_a_worker_may_answer(address: str) -> None:
    async with Bus(address) as bus:
        bus.ipc_main.on("x", lambda event: setattr(event, "return_value", threading.get_ident()), thread=True)
        value, error = await outcome(address)
        assert error is None
        assert value != threading.get_ident()


@pytest.mark.contract("5.6")
async def test_without_a_listener_the_reply_is_never_sent(address: str) -> None:
    async with Bus(address) as bus:
        _, error = await outcome(address)
        assert type(error) is ReplyNeverSent
        assert str(error) == NEVER
        assert bus.errors == []


async def ends_later(event: object) -> None:
    await asyncio.sleep(0)


def fails(event: object) -> None:
    raise ValueError("broken")


async def fails_later(event: object) -> None:
    await asyncio.sleep(0)
    raise ValueError("broken")


@pytest.mark.contract("5.6")
@pytest.mark.parametrize("listener", [lambda event: None, ends_later, fails, fails_later])
async def test_when_every_listener_is_done_and_nobody_has_the_event_the_reply_is_never_sent(
    listener: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The test runner keeps every record with its traceback, and by that the event.
    monkeypatch.setattr(logging.getLogger("mainbus"), "propagate", False)
    monkeypatch.setattr(logging, "lastResort", None)
    gc.disable()  # at once, not when a collector finds a cycle
    try:
        async with Bus(address, config=Config(sync_reply_timeout=1000)) as bus:
            bus.broker._emitter.remove_all_listeners("listener-error")
            bus.ipc_main.on("x", listener)
            _, error = await outcome(address, timeout=1000)
            assert type(error) is ReplyNeverSent
            assert str(error) == NEVER
    finally:
        gc.enable()


@pytest.mark.contract("5.6")
async def test_an_event_that_somebody_keeps_is_bounded(address: str) -> None:
    async with Bus(address, config=Config(sync_reply_timeout=0.01)) as bus:
        told = Calls()
        bus.ipc_main.on("x", told)
        _, error = await outcome(address)
        assert type(error) is ReplyNeverSent
        [(event,)] = told.calls
        event.return_value = "too late"
        told.calls.clear()
        del event


@pytest.mark.contract("5.6")
async def test_send_sync_raises_what_invoke_would_raise(address: str) -> None:
    async with Bus(address) as bus:

        def cannot_be_cloned(event: IpcMainEvent) -> None:
            event.return_value = [fails]

        registration = bus.ipc_main.on("x", cannot_be_cloned)
        _, error = await outcome(address)
        assert type(error) is RemoteError
        text = "Error invoking remote method 'x': An object could not be cloned. (result[0]: function)"
        assert str(error) == text
        registration.cancel()
        told = Calls()
        bus.ipc_main.on("x", told)
        _, error = await outcome(address, timeout=0.01)
        assert type(error) is InvokeTimeout


@pytest.mark.contract("2.18", "2.16")
async def test_send_sync_is_dispatched_as_send_after_an_event_of_its_own(address: str) -> None:
    async with Bus(address) as bus:
        heard: list[object] = []

        def listen(contents: Any) -> None:
            contents.on("ipc-message", lambda *args: heard.append("never"))
            contents.on("ipc-message-sync", lambda event, channel, value: heard.append(("event", channel, value)))
            contents.main_frame.ipc.on("x", lambda event, value: heard.append(("frame", value)))
            contents.ipc.on("x", lambda event, value: heard.append(("contents", value)))

        def answer(event: IpcMainEvent, value: object) -> None:
            heard.append(("main", value))
            event.return_value = event.sender is bus.broker.web_contents.from_id(event.sender.id)

        bus.broker.on("web-contents-created", listen)
        bus.ipc_main.on("x", answer)
        bus.ipc_main.handle("x", lambda event, value: heard.append("never"))
        assert await outcome(address, 7) == (True, None)
        assert heard == [("event", "x", 7), ("frame", 7), ("contents", 7), ("main", 7)]


@pytest.mark.contract("2.18")
async def test_the_contents_event_may_answer(address: str) -> None:
    async with Bus(address) as bus:

        def answer(event: IpcMainEvent, channel: str) -> None:
            event.return_value = channel

        bus.broker.on("web-contents-created", lambda contents: contents.on("ipc-message-sync", answer))
        assert await outcome(address) == ("x", None)


@pytest.mark.contract("2.9", "5.6")
async def test_arguments_that_fit_no_listener_end_in_no_reply(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("mainbus"), "propagate", False)
    monkeypatch.setattr(logging, "lastResort", None)
    async with Bus(address) as bus:
        bus.ipc_main.on("x", lambda event: None)
        _, error = await outcome(address, 1, 2)
        assert type(error) is ReplyNeverSent
        assert [type(error) for error, _, _ in bus.errors] == [ValidationError]


@pytest.mark.contract("5.5", "5.6")
async def test_a_broker_that_stops_fails_who_waits(address: str) -> None:
    async with Bus(address) as bus:
        told = Calls()
        bus.ipc_main.on("x", told)
        waiting = asyncio.ensure_future(outcome(address))
        await told.wait()
        await bus.broker.stop()
        _, error = await within(waiting)
        assert type(error) is ReplyNeverSent
        assert str(error) == NEVER
        told.calls.clear()


# SyncReply by itself.


async def test_a_sync_reply_answers_once() -> None:
    answered, never = list[object](), list[object]()
    reply = SyncReply(asyncio.get_running_loop(), answered.append, lambda: never.append(None))
    assert reply.value is None
    reply.set(1)
    reply.set(2)
    reply.give_up()
    del reply
    await asyncio.sleep(0)
    assert answered == [1]
    assert never == []


async def test_a_sync_reply_that_is_dropped_in_another_thread_answers_on_the_loop() -> None:
    answered, threads = list[object](), list[int]()
    held = [SyncReply(asyncio.get_running_loop(), answered.append, lambda: threads.append(threading.get_ident()))]
    await asyncio.to_thread(held.clear)
    await until(lambda: threads)
    assert threads == [threading.get_ident()]
    assert answered == []


async def test_a_sync_reply_that_is_set_in_another_thread_answers_on_the_loop() -> None:
    answered, never = list[tuple[object, int]](), list[object]()
    loop = asyncio.get_running_loop()
    reply = SyncReply(loop, lambda value: answered.append((value, threading.get_ident())), lambda: never.append(None))
    await asyncio.to_thread(reply.set, 1)
    reply.set(2)
    del reply
    await until(lambda: answered)
    assert answered == [(1, threading.get_ident())]
    assert never == []


async def test_a_sync_reply_gives_up_once() -> None:
    answered, never = list[object](), list[object]()
    reply = SyncReply(asyncio.get_running_loop(), answered.append, lambda: never.append(None))
    reply.give_up()
    reply.give_up()
    reply.set(1)
    del reply
    await asyncio.sleep(0)
    assert answered == []
    assert never == [None]


def test_a_sync_reply_that_outlives_its_loop_says_nothing() -> None:
    loop = asyncio.new_event_loop()
    never: list[object] = []
    reply = SyncReply(loop, never.append, lambda: never.append(None))
    loop.close()
    del reply
    assert never == []
