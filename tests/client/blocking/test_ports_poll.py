"""Ports of a renderer that its own thread polls."""

import selectors
import socket
import threading
from typing import Any

import pytest
from mainbus.blocking import MessageChannel, connect

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread


def echo(event: Any, message: object) -> None:
    """Answer in the main process what comes by a port, until it is closed."""
    port = event.ports[0]
    port.on("message", lambda event: port.post_message(event.data))
    port.start()


@pytest.mark.contract("3.14")
def test_listeners_of_a_port_run_in_poll_and_nowhere_else(broker: BrokerThread) -> None:
    broker.ipc_main.on("port", echo)
    with connect(broker.address, poll=True) as renderer:
        channel, got, closed = MessageChannel(), Box(), Box()
        channel.port1.on("message", lambda event: got(event, event.data))
        channel.port1.on("close", closed)
        channel.port1.start()
        renderer.post_message("port", None, [channel.port2])
        for number in range(10):
            channel.port1.post_message(number)
        assert got.empty
        ran = 0
        while ran < 10:
            ran += renderer.poll(PATIENCE)
        assert got.args(10) == list(range(10))
        channel.port1.close()
        assert closed.empty
        assert renderer.poll(PATIENCE) == 1
        closed.get()
        assert got.threads == closed.threads == {threading.current_thread().name}


@pytest.mark.contract("3.14")
def test_an_iteration_runs_the_other_listeners_meanwhile(broker: BrokerThread) -> None:
    broker.ipc_main.on("port", echo)
    broker.ipc_main.on("ask", lambda event: event.reply("told", "by the way"))
    with connect(broker.address, poll=True) as renderer:
        channel = MessageChannel()

        def told(event: Any, text: str) -> None:
            channel.port1.post_message(text)

        renderer.on("told", told)
        renderer.post_message("port", None, [channel.port2])
        renderer.send("ask")
        assert next(iter(channel.port1)).data == "by the way"
        channel.port1.drain()
        channel.port1.close()


@pytest.mark.contract("3.14")
def test_a_channel_of_a_polled_renderer_runs_its_listeners_there_from_the_start(broker: BrokerThread) -> None:
    with connect(broker.address, poll=True) as renderer:
        channel, got = MessageChannel(renderer), Box()
        channel.port1.on("message", got)
        channel.port1.start()
        channel.port2.post_message(1)
        assert got.empty
        assert renderer.poll(PATIENCE) == 1
        assert got.get()[0].data == 1


@pytest.mark.contract("3.14")
@pytest.mark.contract("7.1")
def test_a_loop_with_select_serves_ports_and_other_things(broker: BrokerThread) -> None:
    broker.ipc_main.on("port", echo)
    here, there = socket.socketpair()
    with (
        here,
        there,
        connect(broker.address, poll=True) as renderer,
        selectors.DefaultSelector() as selector,
    ):
        selector.register(renderer, selectors.EVENT_READ)
        selector.register(here, selectors.EVENT_READ)
        channel, got, closed = MessageChannel(), Box(), Box()
        channel.port1.on("message", lambda event: (got(event, event.data), there.send(b"!")))
        channel.port1.on("close", closed)
        channel.port1.start()
        renderer.post_message("port", None, [channel.port2])
        assert not selector.select(0)
        # More than the credit: it comes back because the loop takes it.
        sent, heard = 200, 0

        def post() -> None:
            for number in range(sent):
                channel.port1.post_message((number, bytes(5000)))

        wait = in_thread(post)
        while heard < sent or closed.empty:
            ready = selector.select(PATIENCE)
            assert ready
            for key, _ in ready:
                if key.fileobj is renderer:
                    renderer.poll()
                else:
                    heard += len(here.recv(4096))
                    if heard == sent:
                        channel.port1.close()
        wait()
        assert [number for number, _ in got.args(sent)] == list(range(sent))
        assert got.threads == {threading.current_thread().name}
        assert not selector.select(0)


@pytest.mark.contract("3.14")
def test_a_plain_loop_takes_what_came_each_time(broker: BrokerThread) -> None:
    broker.ipc_main.on("port", echo)
    with connect(broker.address, poll=True) as renderer:
        channel, got = MessageChannel(), []
        channel.port1.on("message", lambda event: got.append(event.data))
        channel.port1.start()
        renderer.post_message("port", None, [channel.port2])
        rounds = 0
        while len(got) < 50:
            channel.port1.post_message(rounds)
            rounds += 1
            # A listener of a port is one of those that are run: an endless stream does not keep poll() from returning.
            assert renderer.poll(0.001) <= 1
        assert got == list(range(50))
        channel.port1.close()


@pytest.mark.contract("7.3")
def test_an_iteration_ends_with_its_renderer(broker: BrokerThread) -> None:
    with connect(broker.address, poll=True) as renderer:
        broker.ipc_main.on("port", echo)
        channel = MessageChannel()
        renderer.post_message("port", None, [channel.port2])
        renderer.on("end", lambda event: renderer.close())
        broker.ipc_main.on("ask", lambda event: event.reply("end"))
        renderer.send("ask")
        assert list(channel.port1) == []
