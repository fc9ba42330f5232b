"""BlockingPorts: what any thread posts leaves in order, by the reader thread."""

from typing import Any

import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer, MessageChannel
from mainbus.blocking.port_end import LOCK

from tests.support.threads import Box, BrokerThread


def to_main(broker: BrokerThread, renderer: BlockingRenderer) -> tuple[MessageChannel, Any]:
    """Return a channel whose second port is in the main process, and that one."""
    got, channel = Box(), MessageChannel()
    registration = broker.ipc_main.on("port", got)
    renderer.post_message("port", None, [channel.port2])
    event, _ = got.get()
    broker.call(registration.cancel)
    return channel, event.ports[0]


def take(broker: BrokerThread, port: Any, count: int) -> list[Any]:
    """Take so many messages from a port of the main process."""

    async def iterate() -> list[Any]:
        found = []
        async for event in port:
            found.append(event)
            if len(found) == count:
                break
        return found

    return broker.run(iterate())


@pytest.mark.contract("7.2")
def test_what_was_posted_leaves_in_front_of_its_port(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    carrier, there = to_main(broker, renderer)
    channel, far = to_main(broker, renderer)
    with LOCK:
        # The reader thread sends nothing meanwhile: all of it waits for it, and what has no credit is held.
        for number in range(100):
            channel.port1.post_message(b"%d" % number * 2000)
        carrier.port1.post_message("carried", [channel.port1])
    (event,) = take(broker, there, 1)
    broker.call(event.ports[0].post_message, "last")
    got = take(broker, far, 101)
    assert [event.data for event in got] == [*(b"%d" % number * 2000 for number in range(100)), "last"]
    carrier.port1.close()
    broker.call(event.ports[0].close)


@pytest.mark.contract("7.2")
def test_messages_with_and_without_ports_keep_their_order(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    channel, there = to_main(broker, renderer)
    inner = [MessageChannel() for _ in range(100)]
    for number, each in enumerate(inner):
        each.port1.post_message(number)
        channel.port1.post_message(number, [each.port2])
        channel.port1.post_message(-number)
    got = take(broker, there, 200)
    assert [event.data for event in got[::2]] == list(range(100))
    assert [event.data for event in got[1::2]] == [-number for number in range(100)]
    for number, event in enumerate(got[::2]):
        (nested,) = take(broker, event.ports[0], 1)
        assert nested.data == number
    channel.port1.close()
    for each in inner:
        each.port1.close()


@pytest.mark.contract("7.3")
def test_what_was_posted_leaves_before_the_goodbye(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    with mainbus.blocking.connect(broker.address) as short:
        channel, there = to_main(broker, short)
        for number in range(300):
            channel.port1.post_message(number)
    assert [event.data for event in take(broker, there, 1000)] == list(range(300))


@pytest.mark.contract("7.3")
def test_a_lost_connection_closes_all_ports(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    lost = Box()
    renderer.events.on("disconnected", lost)
    channel, _ = to_main(broker, renderer)
    broker.call(broker.contents("a").close, "enough")
    lost.get()
    assert list(channel.port1) == []
    channel.port1.post_message("to nobody")
    channel.port1.drain()


@pytest.mark.contract("7.3")
def test_a_transfer_when_the_connection_is_lost_for_good_closes_the_port(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address, name="short", reconnect=False) as renderer:
        lost, channel = Box(), MessageChannel()
        renderer.events.on("disconnected", lost)
        broker.call(broker.contents("short").close, "enough")
        lost.get()
        session = renderer._session
        assert session is not None
        with LOCK:
            ends = [channel.port2.release()]
        # It was lost between the call and its turn in the reader thread.
        renderer._post(session, b"port", b"", ends)
        assert list(channel.port1) == []


def test_a_number_is_free_when_its_channel_has_ended(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    for _ in range(20):
        channel, there = to_main(broker, renderer)
        closed = Box()
        channel.port1.on("close", closed)
        channel.port1.start()
        broker.call(there.close)
        closed.get()
    renderer.invoke("echo")
    session = renderer._session
    assert session is not None
    assert len(session.ports) == 0
