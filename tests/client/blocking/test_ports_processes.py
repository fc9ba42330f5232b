"""Ports between processes, one with threads and one with a loop; and the end of either, however it comes."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer, MessageChannel

from tests.support.bus import program
from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread

ON_A_LOOP = """
async def main():
    opened = mainbus.connect(sys.argv[1], name="loop")

    def echo(event, message):
        port = event.ports[0]

        def answer(event):
            # What came along goes back, and something new with it.
            channel = mainbus.MessageChannel()
            channel.port1.post_message("from the loop")
            port.post_message(event.data, [*event.ports, channel.port2])

        port.on("message", answer)
        port.start()

    opened.on("port", echo)
    async with opened:
        say("ready")
        await forever()

asyncio.run(main())
"""

WITH_THREADS = """
import mainbus.blocking

opened = mainbus.blocking.connect(sys.argv[1], name="threads")

def echo(event, message):
    port = event.ports[0]
    port.on("message", lambda event: port.post_message(event.data, event.ports))
    port.start()

opened.on("port", echo)
with opened:
    say("ready")
    sys.stdin.read()
"""


@contextmanager
def running(source: str, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a process of its own, until it says that it is connected."""
    with subprocess.Popen(program(source, address), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == [b"ready"]
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def passing(broker: BrokerThread) -> BrokerThread:
    """A broker whose main process hands on the ports of "to"."""

    def hand_over(event: Any, name: str) -> None:
        contents = broker.broker.web_contents.from_name(name)
        assert contents is not None
        contents.post_message("port", None, event.ports)

    broker.ipc_main.on("to", hand_over)
    return broker


@pytest.fixture
def renderer(passing: BrokerThread) -> Iterator[BlockingRenderer]:
    with mainbus.blocking.connect(passing.address) as opened:
        yield opened


@pytest.mark.contract("7.2")
@pytest.mark.contract("3.14")
def test_ports_cross_from_threads_to_a_loop_and_back(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    with running(ON_A_LOOP, broker.address):
        channel, inner = MessageChannel(), MessageChannel()
        channel.port1.post_message("first")
        renderer.post_message("to", "loop", [channel.port2])
        channel.port1.post_message("second", [inner.port2])
        inner.port1.post_message("after a journey")
        answers = iter(channel.port1)
        first, second = next(answers), next(answers)
        assert (first.data, second.data) == ("first", "second")
        assert next(iter(first.ports[0])).data == "from the loop"
        home, new = second.ports
        assert next(iter(home)).data == "after a journey"
        assert next(iter(new)).data == "from the loop"
        for end in (channel.port1, inner.port1):
            end.close()


@pytest.mark.contract("7.3")
@pytest.mark.parametrize("source", [ON_A_LOOP, WITH_THREADS], ids=["loop", "threads"])
def test_a_killed_process_closes_its_ports(broker: BrokerThread, renderer: BlockingRenderer, source: str) -> None:
    with running(source, broker.address) as process:
        channel, got, closed = MessageChannel(), Box(), Box()
        channel.port1.on("message", lambda event: got(event.data))
        channel.port1.on("close", closed)
        channel.port1.start()
        renderer.post_message("to", "loop" if source is ON_A_LOOP else "threads", [channel.port2])
        channel.port1.post_message("alive")
        assert got.get() == ("alive",)
        process.kill()
        closed.get()
        channel.port1.post_message("to nobody")
        renderer.invoke("echo")
        assert got.empty


@pytest.mark.contract("7.3")
async def test_a_killed_process_with_threads_closes_ports_of_a_loop(address: str) -> None:
    with BrokerThread(address) as broker:

        def hand_over(event: Any, name: str) -> None:
            contents = broker.broker.web_contents.from_name(name)
            assert contents is not None
            contents.post_message("port", None, event.ports)

        broker.ipc_main.on("to", hand_over)
        with running(WITH_THREADS, address) as process:
            async with mainbus.connect(address) as renderer:
                channel = mainbus.MessageChannel()
                renderer.post_message("to", "threads", [channel.port2])
                inner = mainbus.MessageChannel()
                inner.port1.post_message("back again")
                channel.port1.post_message("alive", [inner.port2])
                event = await anext(aiter(channel.port1))
                assert event.data == "alive"
                assert (await anext(aiter(event.ports[0]))).data == "back again"
                process.kill()
                assert [event async for event in channel.port1] == []
                inner.port1.close()


@pytest.mark.contract("7.3")
def test_who_waits_for_a_killed_process_is_told(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    with running(SILENT, broker.address) as process:
        channel, took = MessageChannel(), Box()
        renderer.post_message("to", "silent", [channel.port2])
        channel.port1.post_message(bytes(1_000_000))

        def iterate() -> str:
            for event in channel.port1:
                took(event.data)
            return "over"

        iterations, drain = [in_thread(iterate), in_thread(iterate)], in_thread(channel.port1.drain)
        assert took.get() == ("here",)
        process.kill()
        assert [wait() for wait in iterations] == ["over", "over"]
        drain()


SILENT = """
import mainbus.blocking

opened = mainbus.blocking.connect(sys.argv[1], name="silent")
kept = []

def keep(event, message):
    kept.extend(event.ports)
    kept[0].post_message("here")

opened.on("port", keep)
with opened:
    say("ready")
    sys.stdin.read()
"""

ENDING = """
import threading
import mainbus.blocking
from mainbus import ObjectDestroyedError, SendQueueFull
from mainbus.blocking import MessageChannel

how = sys.argv[2]
opened = mainbus.blocking.connect(sys.argv[1], name="ending")
opened.open()
channel, idle, inner, local = (MessageChannel() for _ in range(4))
channel.port1.post_message("first", [idle.port2, inner.port2])
opened.post_message("to test", None, [channel.port2])

def forever(call):
    try:
        while True:
            call()
    except (ObjectDestroyedError, SendQueueFull):
        pass

def to_nobody():
    opened.post_message("nobody", None, [MessageChannel(opened).port1])
    # Each costs two of the ports that a renderer may have, until the broker has said that nobody listens.
    opened.invoke("echo")

def drain():
    try:
        channel.port1.drain(0.001)
    except TimeoutError:
        pass

def listen(event):
    channel.port1.post_message(event.data)

inner.port1.on("message", listen)
inner.port1.start()
for call in (
    lambda: [event for event in idle.port1],
    lambda: [event for event in local.port1],
    lambda: forever(lambda: channel.port1.post_message("more")),
    lambda: forever(lambda: MessageChannel(opened).port1.post_message()),
    lambda: forever(to_nobody),
    lambda: forever(drain),
):
    threading.Thread(target=call, daemon=True).start()
try:
    say("ready")
    if how == "interrupt":
        for event in local.port2:
            pass
    sys.stdin.readline()
except KeyboardInterrupt:
    pass
if how == "close":
    opened.close()
elif how == "exit":
    sys.exit()
"""


@pytest.mark.contract("7.3")
@pytest.mark.parametrize("how", ["return", "close", "exit", "interrupt"])
def test_a_process_may_end_with_open_ports(broker: BrokerThread, renderer: BlockingRenderer, how: str) -> None:
    arrived, over = Box(), Box()

    def take(event: Any, message: object) -> None:
        (port,) = event.ports
        port.on("message", lambda event: arrived(event.data, event.ports))
        port.on("close", over)
        port.start()

    broker.ipc_main.on("to test", take)
    for _ in range(2):
        with subprocess.Popen(
            program(ENDING, broker.address, how),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "ready\n"
                data, ports = arrived.get()
                assert data == "first"
                broker.call(ports[1].post_message, "answer this")
                while arrived.get()[0] != "answer this":
                    pass
                if how == "interrupt":
                    process.send_signal(signal.SIGINT)
                _, complaints = process.communicate(timeout=PATIENCE)
                assert (process.returncode, complaints) == (0, "")
            finally:
                process.kill()
        over.get()
        while not arrived.empty:
            arrived.get()


STOPPED = """
import gc, threading
import mainbus.blocking

opened = mainbus.blocking.connect(sys.argv[1])
opened.open()
held = threading.Event()

def hold(waiting):
    held.set()
    threading.Event().wait()

# As if the process ended while this thread was about to hand something to the reader thread.
threading.Thread(target=lambda: opened.home.loop.post_verb(print, 0, hold), daemon=True).start()
held.wait()
# A cycle, collected when nothing else runs any more.
gc.set_threshold(0)
kept = [mainbus.blocking.MessageChannel(opened)]
kept.append(kept)
del kept
"""


def test_a_port_that_goes_with_its_process_waits_for_no_thread(broker: BrokerThread) -> None:
    done = subprocess.run(program(STOPPED, broker.address), capture_output=True, timeout=PATIENCE, check=True)
    assert not done.stderr
