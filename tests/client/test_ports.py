"""MessageChannel and MessagePort, as their users see them: within one process, and with both ends in one renderer."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import mainbus
import mainbus_broker
import pytest
from mainbus import LocalProtocolError, MessageChannel
from mainbus.events import MessageEvent
from mainbus.ports import MessagePort

from tests.support.bus import Bus, Calls, until, within


def heard(port: MessagePort) -> list[Any]:
    """Start a port; returns the list to which its messages and its close are added."""
    log: list[Any] = []
    port.on("message", lambda event: log.append(event.data))
    port.on("close", lambda: log.append("closed"))
    port.start()
    return log


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# What there is.


@pytest.mark.contract("7.1")
async def test_a_channel_has_two_ports_and_each_gets_what_is_posted_on_the_other() -> None:
    channel = MessageChannel()
    assert isinstance(channel.port1, MessagePort)
    one, two = heard(channel.port1), heard(channel.port2)
    channel.port1.post_message({"to": 2})
    channel.port2.post_message()
    await until(lambda: one and two)
    assert (one, two) == ([None], [{"to": 2}])
    channel.port1.close()


@pytest.mark.contract("7.1")
def test_the_main_process_has_them_under_electrons_names_too() -> None:
    assert mainbus_broker.MessageChannelMain is MessageChannel
    assert mainbus_broker.MessagePortMain is MessagePort
    assert mainbus.MessageChannel is MessageChannel


@pytest.mark.contract("7.1")
def test_a_channel_needs_a_running_loop() -> None:
    with pytest.raises(RuntimeError):
        MessageChannel()


@pytest.mark.contract("7.1")
async def test_an_event_has_data_and_ports() -> None:
    channel, inner = MessageChannel(), MessageChannel()
    got = Calls()
    channel.port2.on("message", got)
    channel.port2.start()
    channel.port1.post_message("plain")
    channel.port1.post_message("with", [inner.port1, inner.port2])
    await got.wait(2)
    (plain,), (with_ports,) = got.calls
    assert isinstance(plain, MessageEvent)
    assert (plain.data, plain.ports) == ("plain", [])
    assert with_ports.data == "with"
    assert [type(port) for port in with_ports.ports] == [MessagePort, MessagePort]
    one, two = with_ports.ports
    log = heard(two)
    one.post_message("through")
    one.close()
    await until(lambda: len(log) == 2)
    assert log == ["through", "closed"]
    channel.port1.close()


@pytest.mark.contract("7.1", "2.6")
async def test_listeners_are_emitters_of_node() -> None:
    channel = MessageChannel()
    log: list[Any] = []
    note: Callable[[MessageEvent], object] = lambda event: log.append(event.data)  # noqa: E731
    channel.port2.on("message", note)
    channel.port2.on("message", note)

    @channel.port2.once("message")
    def first(event: MessageEvent) -> None:
        log.append(f"once {event.data}")

    @channel.port2.on("close")
    def closed() -> None:
        log.append("closed")

    channel.port2.start()
    channel.port1.post_message(1)
    channel.port1.post_message(2)
    await until(lambda: len(log) == 5)
    channel.port2.off("message", note)
    registration = channel.port2.add_listener("message", lambda event: log.append("other"))
    channel.port1.post_message(3)
    await until(lambda: len(log) == 7)
    registration.cancel()
    channel.port2.off("close", closed)
    channel.port2.off("message", closed)
    channel.port1.close()
    await turns()
    assert log == [1, 1, "once 1", 2, 2, 3, "other"]


@pytest.mark.contract("7.1")
async def test_there_are_no_other_events() -> None:
    port = MessageChannel().port1
    with pytest.raises(ValueError, match="Unknown event 'messages'"):
        port.on("messages", print)
    with pytest.raises(ValueError, match="Unknown event 'messages'"):
        port.off("messages", print)
    with pytest.raises(TypeError, match="Expected handler to be a function, but found type 'int'"):
        port.on("message", 5)  # type: ignore[call-overload]


@pytest.mark.contract("7.1")
async def test_an_iteration_starts_the_port_and_ends_at_its_close() -> None:
    channel = MessageChannel()
    closed = Calls()
    channel.port2.on("close", closed)
    for number in range(5):
        channel.port1.post_message(number)
    channel.port1.close()
    assert [event.data async for event in channel.port2] == [0, 1, 2, 3, 4]
    await closed.wait()
    assert [event async for event in channel.port2] == []
    assert closed.calls == [()]


@pytest.mark.contract("7.1")
async def test_messages_go_to_listeners_or_to_an_iteration() -> None:
    channel = MessageChannel()
    channel.port1.on("message", print)
    with pytest.raises(LocalProtocolError, match='listeners of "message", which take what an iteration would take'):
        aiter(channel.port1)
    aiter(channel.port2)
    with pytest.raises(LocalProtocolError, match="taken by an iteration"):
        channel.port2.on("message", print)
    channel.port1.close()


@pytest.mark.contract("2.8")
async def test_a_listener_that_raises_is_logged_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    channel = MessageChannel()
    got = Calls()

    def fail(event: MessageEvent) -> None:
        raise ValueError("no")

    channel.port2.on("message", fail)
    channel.port2.on("message", got)
    channel.port2.start()
    channel.port1.post_message(1)
    channel.port1.post_message(2)
    await got.wait(2)
    assert [record.getMessage() for record in caplog.records] == ["a listener of a port failed on a message"] * 2
    channel.port1.close()


@pytest.mark.contract("2.20")
async def test_coroutine_listeners_begin_in_order() -> None:
    channel = MessageChannel()
    log: list[Any] = []

    async def slow(event: MessageEvent) -> None:
        log.append(f"begun {event.data}")
        await asyncio.sleep(0)

    channel.port2.on("message", slow)
    channel.port2.on("message", lambda event: log.append(event.data))
    channel.port2.start()
    for number in range(3):
        channel.port1.post_message(number)
    await until(lambda: len(log) == 6)
    assert log == ["begun 0", 0, "begun 1", 1, "begun 2", 2]
    channel.port1.close()


@pytest.mark.contract("7.1", "9.2")
async def test_drain_waits_until_the_other_end_keeps_up() -> None:
    channel = MessageChannel()
    channel.port1.post_message(bytes(300_000))
    draining = asyncio.ensure_future(channel.port1.drain())
    await turns()
    assert not draining.done()
    async for _ in channel.port2:
        break
    await within(draining)
    channel.port1.post_message(bytes(300_000))
    draining = asyncio.ensure_future(channel.port1.drain())
    await turns()
    channel.port2.close()
    await within(draining)
    await within(channel.port1.drain())


@pytest.mark.contract("7.1", "9.2")
async def test_drain_ends_when_the_port_is_transferred() -> None:
    channel, other = MessageChannel(), MessageChannel()
    channel.port1.post_message(bytes(300_000))
    draining = asyncio.ensure_future(channel.port1.drain())
    await turns()
    other.port1.post_message(None, [channel.port1])
    await within(draining)
    await within(channel.port1.drain())
    other.port1.close()


# Waiting for start.


@pytest.mark.contract("7.2")
async def test_messages_wait_for_start() -> None:
    channel = MessageChannel()
    log: list[Any] = []
    channel.port2.on("message", lambda event: log.append(event.data))
    for number in range(1000):
        channel.port1.post_message(number)
    await turns()
    assert log == []
    channel.port2.start()
    channel.port2.start()
    await until(lambda: len(log) == 1000)
    assert log == list(range(1000))
    channel.port1.close()


@pytest.mark.contract("7.2", "7.3")
async def test_ports_inside_ports_inside_ports() -> None:
    outer, middle, inner = MessageChannel(), MessageChannel(), MessageChannel()
    inner.port1.post_message("innermost")
    inner.port1.close()
    middle.port1.post_message("middle", [inner.port2])
    outer.port1.post_message("outer", [middle.port2])
    got: list[Any] = []
    async for event in outer.port2:
        got.append(event.data)
        async for within_it in event.ports[0]:
            got.append(within_it.data)
            got += [innermost.data async for innermost in within_it.ports[0]]
            break
        break
    assert got == ["outer", "middle", "innermost"]
    outer.port1.close()
    middle.port1.close()


# Closing.


@pytest.mark.contract("7.3")
async def test_both_ends_are_told_once_and_after_what_was_queued() -> None:
    channel = MessageChannel()
    one, two = heard(channel.port1), heard(channel.port2)
    channel.port1.post_message(1)
    channel.port2.post_message(2)
    channel.port1.close()
    channel.port1.close()
    channel.port2.close()
    await turns()
    assert (one, two) == ([2, "closed"], [1, "closed"])


@pytest.mark.contract("7.3")
async def test_an_unstarted_end_is_told_after_start() -> None:
    channel = MessageChannel()
    log: list[Any] = []
    for port in (channel.port1, channel.port2):
        port.on("close", lambda: log.append("closed"))
        port.on("message", lambda event: log.append(event.data))
    channel.port1.post_message(1)
    channel.port1.close()
    await turns()
    assert log == []
    channel.port2.start()
    await turns()
    assert log == [1, "closed"]
    channel.port1.start()
    await turns()
    assert log == [1, "closed", "closed"]


@pytest.mark.contract("7.3")
async def test_an_unstarted_end_without_references_is_closed() -> None:
    channel = MessageChannel()
    log = heard(channel.port2)
    channel.port1.post_message("last")
    del channel.port1
    await until(lambda: log == ["last", "closed"])


@pytest.mark.contract("7.3")
async def test_ports_in_a_message_that_nobody_takes_are_closed() -> None:
    channel, inner = MessageChannel(), MessageChannel()
    log = heard(inner.port2)
    channel.port1.post_message("with", [inner.port1])
    del channel
    await until(lambda: log == ["closed"])


@pytest.mark.contract("7.3")
async def test_a_started_port_is_kept_alive() -> None:
    channel = MessageChannel()
    log = heard(channel.port2)
    del channel.port2
    gc.collect()
    await turns()
    channel.port1.post_message("still here")
    await until(lambda: log == ["still here"])
    channel.port1.close()
    await until(lambda: log == ["still here", "closed"])


@pytest.mark.contract("7.3")
async def test_what_an_iteration_has_left_goes_with_its_port(address: str) -> None:
    async with Bus(address) as bus:
        events = Calls()
        renderer = await bus.renderer()
        bus.ipc_main.on("x", events)
        channel = MessageChannel()
        renderer.post_message("x", None, [channel.port2])
        event, _ = await events.wait()
        (port,) = event.ports
        gone = weakref.ref(port)
        for number in range(20):
            channel.port1.post_message(number)
        assert (await anext(aiter(port))).data == 0
        del port, event
        events.calls.clear()
        gc.collect()
        # More could come, and be iterated over by whoever has it.
        assert gone() is not None
        channel.port1.close()
        await until(lambda: gone() is None)
        await until(lambda: not bus.hub.main_ports.ports)


@pytest.mark.contract("7.4")
async def test_posting_on_a_closed_port_does_nothing() -> None:
    channel, inner = MessageChannel(), MessageChannel()
    two = heard(channel.port2)
    channel.port1.close()
    channel.port1.post_message("lost", [inner.port1])
    channel.port2.post_message("lost")
    await until(lambda: two == ["closed"])
    # The port that was to go along has not left.
    log = heard(inner.port1)
    inner.port2.post_message("there")
    await until(lambda: log == ["there"])
    inner.port1.close()


@pytest.mark.contract("7.4")
async def test_a_transferred_port_does_nothing() -> None:
    channel, other = MessageChannel(), MessageChannel()
    other.port1.post_message(None, [channel.port1])
    two = heard(channel.port2)
    channel.port1.post_message("nothing")
    channel.port1.start()
    channel.port1.close()
    assert [event async for event in channel.port1] == []
    await turns()
    assert two == []
    other.port2.close()
    other.port2.start()
    channel.port2.close()


@pytest.mark.contract("3.13")
async def test_a_port_belongs_to_its_loops_thread() -> None:
    channel, other = MessageChannel(), MessageChannel()
    errors: list[Exception] = []

    def use() -> None:
        verbs: list[Callable[[], object]] = [
            channel.port1.post_message,
            channel.port1.start,
            channel.port1.close,
            lambda: channel.port1.on("message", print),
            lambda: channel.port1.off("message", print),
            lambda: aiter(channel.port1),
        ]
        for verb in verbs:
            try:
                verb()
            except RuntimeError as error:
                errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 6
    assert str(errors[0]).startswith("this port belongs to the thread of its loop")
    other.port1.close()
