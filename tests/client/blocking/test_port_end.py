"""BlockingEnd: when messages count as taken, and who calls the listeners."""

import threading
from typing import Any

import mainbus.blocking
from mainbus.blocking import BlockingRenderer, MessageChannel, MessagePort
from mainbus.blocking.port_end import LOCK, BlockingEnd, Home
from mainbus.port_end import End

from tests.support.threads import Box, BrokerThread, in_thread


def end_of(port: MessagePort) -> End:
    assert port.end is not None
    return port.end


class Slow(Box):
    """A listener that ends when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def __call__(self, event: Any) -> None:
        super().__call__(event.data)
        self.go_on.wait(10)


def test_a_message_counts_until_its_listeners_have_run(renderer: BlockingRenderer) -> None:
    channel, slow = MessageChannel(renderer), Slow()
    channel.port1.on("message", slow)
    channel.port1.start()
    channel.port2.post_message(b"x" * 1_000_000)
    slow.get()
    assert end_of(channel.port1).size > 1_000_000
    wait = in_thread(channel.port2.drain)
    slow.go_on.set()
    wait()
    assert end_of(channel.port1).size == 0


def test_a_port_that_leaves_in_its_listener_counts_as_taken(renderer: BlockingRenderer) -> None:
    channel, slow = MessageChannel(renderer), Slow()
    channel.port1.on("message", slow)
    channel.port1.start()
    channel.port2.post_message(1)
    slow.get()
    end = end_of(channel.port1)
    carrier = MessageChannel()
    carrier.port1.post_message(None, [channel.port1])
    assert end.size == 0
    slow.go_on.set()
    channel.port2.post_message(2)
    port = next(iter(carrier.port2)).ports[0]
    assert next(iter(port)).data == 2
    renderer.invoke("echo")
    assert end.size == 0


def test_a_call_that_was_asked_for_by_the_former_owner_does_nothing(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address, poll=True) as renderer:
        channel, got, carrier = MessageChannel(renderer), Box(), MessageChannel()
        channel.port1.on("message", got)
        channel.port1.start()
        channel.port2.post_message(1)
        carrier.port1.post_message(None, [channel.port1])
        assert renderer.poll() == 1
        assert got.empty
        assert next(iter(next(iter(carrier.port2)).ports[0])).data == 1


def test_a_body_that_does_not_decode_closes_the_channel(renderer: BlockingRenderer) -> None:
    for iterated in (False, True):
        channel, closed = MessageChannel(renderer), Box()
        channel.port2.on("close", closed)
        channel.port2.start()
        with LOCK:
            end_of(channel.port1).receive(b"\xff", [])
        if iterated:
            assert list(channel.port1) == []
        else:
            channel.port1.on("message", closed)
            channel.port1.start()
        assert closed.get() == ()


def test_a_finaliser_takes_no_lock_of_ports() -> None:
    channel = MessageChannel()
    end = end_of(channel.port1)
    with LOCK:
        wait = in_thread(lambda: delattr(channel, "port1"))
        wait()
        assert not end.finished
    assert list(channel.port2) == []
    assert end.finished


def test_a_home_makes_ends_that_belong_there() -> None:
    home = Home(MessagePort)
    end = home.new_end()
    assert isinstance(end, BlockingEnd)
    assert end.home is home
    assert home.handle(end).end is end
