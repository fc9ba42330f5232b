"""The API of a renderer for threads: every verb does what it does on a loop."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer
from mainbus_broker import Config
from mainbus_broker.config import Limits

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread

VERBS: dict[str, Callable[[BlockingRenderer], object]] = {
    "send": lambda renderer: renderer.send("x"),
    "post_message": lambda renderer: renderer.post_message("x", 1),
    "invoke": lambda renderer: renderer.invoke("x"),
    "send_sync": lambda renderer: renderer.send_sync("x"),
    "send_to": lambda renderer: renderer.send_to(1, "x"),
    "invoke_to": lambda renderer: renderer.invoke_to("b", "x"),
    "broadcast": lambda renderer: renderer.broadcast("x"),
    "peers": lambda renderer: renderer.peers(),
    "status": lambda renderer: renderer.status(),
    "granted": lambda renderer: renderer.granted("listen", "x"),
    "drain": lambda renderer: renderer.drain(),
    "wait_for": lambda renderer: renderer.wait_for("x"),
    "poll": lambda renderer: renderer.poll(),
    "fileno": lambda renderer: renderer.fileno(),
}
each_verb = pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)


# Life


@pytest.mark.contract("3.14")
def test_with_opens_and_closes(broker: BrokerThread) -> None:
    renderer = mainbus.blocking.connect(broker.address, name="a")
    assert (renderer.name, renderer.is_connected) == ("a", False)
    with renderer as opened:
        assert opened is renderer
        assert (renderer.name, renderer.is_connected) == ("a", True)
        assert renderer.id == broker.contents("a").id
        renderer.drain()
        kept = ("pending", "streams", "queued", "held", "pooled", "running", "waiting")
        counted = ("reconnects", "pauses", "timeouts", "gaps", "undeliverable", "message_errors")
        assert renderer.stats() == dict.fromkeys((*kept, *counted), 0)
    assert not renderer.is_connected
    renderer.close()


@pytest.mark.contract("3.14")
def test_open_is_the_same_without_with(broker: BrokerThread) -> None:
    renderer = mainbus.blocking.connect(broker.address)
    renderer.close()  # does nothing yet
    assert renderer.open() is renderer
    with pytest.raises(mainbus.LocalProtocolError, match="opened already"):
        renderer.open()
    assert renderer.invoke("echo", 1) == [1]
    renderer.close()


@each_verb
@pytest.mark.contract("3.14")
def test_verbs_need_an_open_renderer(address: str, verb: Callable[[BlockingRenderer], object]) -> None:
    with pytest.raises(mainbus.LocalProtocolError, match="not connected yet: use `with`"):
        verb(mainbus.blocking.connect(address, poll=True))


@each_verb
@pytest.mark.contract("3.14", "3.10")
def test_after_close_every_verb_says_so(broker: BrokerThread, verb: Callable[[BlockingRenderer], object]) -> None:
    with mainbus.blocking.connect(broker.address, poll=True) as renderer:
        pass
    with pytest.raises(mainbus.ObjectDestroyedError, match="IPC method called after context was released"):
        verb(renderer)


def test_failed_open_says_why_and_can_be_repeated(address: str) -> None:
    renderer = mainbus.blocking.connect(address)
    with pytest.raises(mainbus.ConnectRefused, match="no broker answers there"):
        renderer.open()
    with BrokerThread(address), renderer:
        assert renderer.invoke("echo", 1) == [1]


def test_name_that_is_taken_is_refused(broker: BrokerThread) -> None:
    with mainbus.blocking.connect(broker.address, name="a"), pytest.raises(mainbus.NameTaken):
        mainbus.blocking.connect(broker.address, name="a").open()


def test_bad_arguments_are_refused_at_connect() -> None:
    with pytest.raises(mainbus.AddressError):
        mainbus.blocking.connect("nowhere")
    with pytest.raises(ValueError, match="name"):
        mainbus.blocking.connect("unix:/x", name="")


def test_connect_timeout_waits_for_a_broker(address: str) -> None:
    opened = in_thread(mainbus.blocking.connect(address, connect_timeout=PATIENCE).open)
    with BrokerThread(address):
        opened().close()


@pytest.mark.contract("3.14", "3.10")
def test_what_was_sent_leaves_before_the_end(broker: BrokerThread) -> None:
    got = Box()
    broker.ipc_main.on("item", got)
    with mainbus.blocking.connect(broker.address) as renderer:
        for number in range(1000):
            renderer.send("item", number)
    assert got.args(1000) == list(range(1000))


def test_close_in_a_listener(broker: BrokerThread) -> None:
    closed = threading.Event()
    renderer = mainbus.blocking.connect(broker.address, name="a")

    def quit(event: Any) -> None:
        renderer.close()
        closed.set()

    renderer.on("quit", quit)
    renderer.open()
    broker.send("a", "quit")
    assert closed.wait(PATIENCE)
    with pytest.raises(mainbus.ObjectDestroyedError):
        renderer.send("x")


def test_close_ends_the_waits_of_other_threads(broker: BrokerThread) -> None:
    called, forever = threading.Event(), asyncio.Event()

    @broker.ipc_main.handle("forever")
    async def handler(event: Any) -> None:
        called.set()
        await forever.wait()

    renderer = mainbus.blocking.connect(broker.address).open()
    invoked = in_thread(lambda: renderer.invoke("forever"))
    waited = in_thread(lambda: renderer.wait_for("never"))
    assert called.wait(PATIENCE)
    renderer.close()
    with pytest.raises(mainbus.ConnectionLost):
        invoked()
    with pytest.raises(mainbus.ObjectDestroyedError):
        waited()


def test_program_that_forgets_to_close_ends(broker: BrokerThread) -> None:
    source = (
        "import sys, mainbus.blocking; r = mainbus.blocking.connect(sys.argv[1]).open(); print(r.invoke('echo', 1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, broker.address], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1]\n", "")


# Verbs


@pytest.mark.contract("3.14", "3.3")
def test_invoke_returns_the_result_or_raises(broker: BrokerThread) -> None:
    @broker.ipc_main.handle("fail")
    def fail(event: Any) -> None:
        raise ValueError("some error")

    with mainbus.blocking.connect(broker.address) as renderer:
        assert renderer.invoke("echo", {"a": [1, 2]}) == [{"a": [1, 2]}]
        with pytest.raises(ValueError, match="Error invoking remote method 'fail': ValueError: some error"):
            renderer.invoke("fail")
        with pytest.raises(mainbus.NoHandlerError, match="No handler registered for 'none'"):
            renderer.invoke("none")


@pytest.mark.contract("3.14", "5.7")
def test_timeout_of_invoke_cancels_the_handler(broker: BrokerThread) -> None:
    started, cancelled = threading.Event(), threading.Event()

    @broker.ipc_main.handle("forever")
    async def forever(event: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with mainbus.blocking.connect(broker.address) as renderer:
        timeout = 0.01
        while not started.is_set():
            # On a busy machine the time may be over before the handler begins.
            with pytest.raises(mainbus.InvokeTimeout):
                renderer.invoke("forever", timeout=timeout)
            timeout *= 2
        assert cancelled.wait(PATIENCE)
        with pytest.raises(ValueError, match="timeout"):
            renderer.invoke("echo", timeout=-1)


@pytest.mark.contract("3.14")
def test_messages_to_main_and_back(broker: BrokerThread) -> None:
    posted, got = Box(), Box()
    broker.ipc_main.on("posted", posted)
    broker.ipc_main.on("ask", lambda event, text: event.reply("answer", text * 2))
    with mainbus.blocking.connect(broker.address) as renderer:
        renderer.on("answer", got)
        renderer.send("ask", "ab")
        event, text = got.get()
        assert (event.sender, event.sender_id, event.channel, text) == (renderer, 0, "answer", "abab")
        renderer.post_message("posted", {"a": 1})
        event, message = posted.get()
        assert (message, event.ports) == ({"a": 1}, [])
        with pytest.raises(mainbus.PortError):
            renderer.post_message("posted", 1, [object()])


@pytest.mark.contract("3.14")
def test_messages_to_other_renderers(broker: BrokerThread) -> None:
    got, undeliverable = Box(), Box()
    with (
        mainbus.blocking.connect(broker.address, name="a") as a,
        mainbus.blocking.connect(broker.address, name="b") as b,
    ):
        b.on("item", got, senders="renderers")
        b.on("main only", got)
        b.handle("double", lambda event, number: number * 2, senders="any")
        a.events.on("undeliverable", undeliverable)
        assert a.invoke_to("b", "double", 21) == 42
        assert a.invoke_to(b.id, "double", 1) == 2
        with pytest.raises(mainbus.NoSuchRenderer):
            a.invoke_to("c", "double", 1)
        with pytest.raises(mainbus.NoHandlerError):
            a.invoke_to("b", "none")
        assert [tuple(peer) for peer in a.peers()] == [(b.id, "b")]
        assert a.status()["pid"] == os.getpid()
        assert a.granted("listen", "x")
        a.send_to("b", "item", 1)
        a.send_to("b", "main only", 2)
        a.broadcast("item", 3)
        assert got.args(2) == [1, 3]
        target, channel, _ = undeliverable.get()
        assert (target, channel) == ("b", "main only")
        assert got.empty


@pytest.mark.contract("3.14")
def test_event_replies_to_whoever_sent(broker: BrokerThread) -> None:
    got = Box()
    with (
        mainbus.blocking.connect(broker.address, name="a") as a,
        mainbus.blocking.connect(broker.address, name="b") as b,
    ):
        a.on("pong", got, senders="renderers")
        b.on("ping", lambda event, number: event.reply("pong", number), senders="renderers")
        a.send_to("b", "ping", 7)
        event, number = got.get()
        assert (event.sender_id, event.sender_name, number) == (b.id, "b", 7)


@pytest.mark.contract("3.14")
def test_errors_of_sending_are_raised_where_it_was_sent(address: str) -> None:
    got = Box()
    with BrokerThread(address, config=Config(limits=Limits(message=100_000))) as broker:
        broker.ipc_main.on("item", got)
        with mainbus.blocking.connect(address) as renderer:
            with pytest.raises(mainbus.CloneError, match=r"args\[0\]"):
                renderer.send("item", lambda: None)
            with pytest.raises(mainbus.CloneError):
                renderer.invoke("echo", lambda: None)
            with pytest.raises(mainbus.MessageTooLarge):
                renderer.send("item", bytes(100_001))
            with pytest.raises(mainbus.MessageTooLarge):
                renderer.send_sync("item", bytes(100_001))
            with pytest.raises(TypeError, match="channel"):
                renderer.send("")
            with pytest.raises(TypeError, match="target"):
                renderer.send_to(None, "item")  # type: ignore[arg-type]
            renderer.send("item", "last")
            assert got.args(1) == ["last"]


@pytest.mark.contract("3.14")
def test_value_is_copied_at_the_call(broker: BrokerThread) -> None:
    got = Box()
    broker.ipc_main.on("item", got)
    with mainbus.blocking.connect(broker.address) as renderer:
        value: list[int] = []
        for number in range(200):
            value.append(number)
            renderer.send("item", value)
            assert number < 100 or value.pop(0) >= 0
        sizes = [len(sent) for sent in got.args(200)]
        assert sizes == [*range(1, 102), *[101] * 99]


@pytest.mark.contract("3.14")
def test_too_much_unsent_is_refused_by_name(address: str) -> None:
    big, gone = bytes(8 * 1024 * 1024), Box()
    with BrokerThread(address):
        renderer = mainbus.blocking.connect(address)
        renderer.events.on("disconnected", gone)
        renderer.open()
    gone.get()
    for _ in range(8):
        renderer.send("item", big)
    with pytest.raises(mainbus.SendQueueFull):
        renderer.send("item", b"")
    renderer.close()
