"""Ports of a renderer that its own thread polls."""

import threading
from typing import Any

import mainbus.blocking
import pytest
from mainbus.blocking import MessageChannel

from tests.support.threads import PATIENCE, Box, BrokerThread


def echo(event: Any, message: object) -> None:
    """Answer in the main process what comes by a port, until it is closed."""
    port = event.ports[0]
    port.on("message", lambda event: port.post_message(event.data))
    port.start()


@pytest.mark.contract("3.14")
def test_listeners_of_a_port_run_in_poll_and_nowhere_else(broker: BrokerThread) -> None:
    broker.ipc_main.on("port", echo)
    with mainbus.blocking.connect(broker.address, poll=True) as renderer:
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
    with mainbus.blocking.connect(broker.address, poll=True) as renderer:
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
    with mainbus.blocking.connect(broker.address, poll=True) as renderer:
        channel, got = MessageChannel(renderer), Box()
        channel.port1.on("message", got)
        channel.port1.start()
        channel.port2.post_message(1)
        assert got.empty
        assert renderer.poll(PATIENCE) == 1
        assert got.get()[0].data == 1


@pytest.mark.contract("7.3")
def test_an_iteration_ends_with_its_renderer(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address, poll=True) as renderer:
        broker.ipc_main.on("port", echo)
        channel = MessageChannel()
        renderer.post_message("port", None, [channel.port2])
        renderer.on("end", lambda event: renderer.close())
        broker.ipc_main.on("ask", lambda event: event.reply("end"))
        renderer.send("ask")
        assert list(channel.port1) == []
