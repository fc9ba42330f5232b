"""Listeners and handlers of a blocking renderer: in order, one at a time, each invoke answered once."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer
from mainbus.blocking.arrivals import EVENTS_KEPT
from mainbus.wire import clone
from mainbus.wire.packets import MAIN, Kind, build

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread


@pytest.fixture
def renderer(broker: BrokerThread) -> Iterator[BlockingRenderer]:
    with mainbus.blocking.connect(broker.address, name="a") as opened:
        yield opened


def start(broker: BrokerThread, channel: str, *args: object, timeout: float | None = None) -> Callable[[], Any]:
    """Invoke the renderer from the main process; what is returned waits for the result."""
    contents = broker.contents("a")

    async def invoke() -> Any:
        return await contents.invoke(channel, *args, timeout=timeout)

    return in_thread(lambda: broker.run(invoke()))


@pytest.mark.contract("3.14")
def test_handler_answers_with_what_it_returns_or_raises(
    broker: BrokerThread, renderer: BlockingRenderer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Any) -> None:
        raise KeyError("some error")

    renderer.handle("add", lambda event, a, b=10: a + b)
    renderer.handle("fail", fail)
    renderer.handle("odd", lambda event: threading.Lock())
    assert start(broker, "add", 1, 2)() == 3
    with pytest.raises(KeyError, match="Error invoking remote method 'fail': KeyError"):
        start(broker, "fail")()
    with pytest.raises(mainbus.RemoteError, match="An object could not be cloned"):
        start(broker, "odd")()
    with pytest.raises(mainbus.NoHandlerError):
        start(broker, "none")()
    with pytest.raises(mainbus.ValidationError, match=r"remote method 'add': .*takes from 1 to 2 arg"):
        start(broker, "add")()
    assert [record.getMessage() for record in caplog.records if record.name == "mainbus"] == [
        f"Error occurred in handler for {channel!r}, invoked by the main process" for channel in ("fail", "odd")
    ]
    assert "KeyError: 'some error'" in caplog.text


@pytest.mark.contract("3.14")
def test_coroutine_needs_the_other_api(
    broker: BrokerThread, renderer: BlockingRenderer, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait(event: Any) -> None:
        raise AssertionError

    got = Box()
    renderer.handle("wait", wait)
    renderer.on("wait", wait)
    renderer.on("wait", got)
    with pytest.raises(TypeError, match=r"returned an awaitable.*mainbus\.connect is the API for coroutines"):
        start(broker, "wait")()
    broker.send("a", "wait")
    got.get()
    assert "a listener of channel 'wait' failed on a message from the main process" in caplog.text


@pytest.mark.contract("3.14")
def test_event_tells_who_asks_and_until_when(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    got = Box()
    renderer.handle("x", got, senders="any")
    start(broker, "x")()
    start(broker, "x", timeout=PATIENCE)()
    with mainbus.blocking.connect(broker.address, name="b") as other:
        other.invoke_to("a", "x")
        (first,), (second,), (third,) = got.get(), got.get(), got.get()
        assert (first.sender, first.sender_id, first.channel, first.deadline) == (renderer, 0, "x", None)
        assert second.deadline > 0
        assert (third.sender_id, third.sender_name) == (other.id, "b")
        assert first.request_id != second.request_id
    assert got.threads == {"mainbus listeners"}


@pytest.mark.contract("3.14", "2.19")
def test_everything_of_a_sender_runs_in_order(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    seen: list[int] = []
    note = lambda event, number, *rest: seen.append(number)  # noqa: E731
    renderer.on("item", note)
    renderer.handle("item", note)
    contents = broker.contents("a")

    async def send() -> None:
        replies = []
        for number in range(0, 300, 3):
            contents.send("item", number)
            replies.append(contents.invoke("item", number + 1, bytes(300_000) if number % 30 == 0 else b""))
            contents.post_message("item", number + 2)
        await asyncio.gather(*replies)
        await contents.invoke("item", 300)

    broker.run(send())
    assert seen == list(range(301))


@pytest.mark.contract("3.14", "2.19")
def test_reply_comes_behind_what_the_handler_sent(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    seen: list[object] = []
    broker.ipc_main.on("before", lambda event, number: seen.append(number))

    def handler(event: Any) -> None:
        for number in range(300):
            renderer.send("before", number)

    renderer.handle("x", handler)
    contents = broker.contents("a")

    async def invoke() -> None:
        await contents.invoke("x")
        seen.append("answered")

    broker.run(invoke())
    assert seen == [*range(300), "answered"]


@pytest.mark.contract("3.14")
def test_listener_may_invoke_and_wait(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    done = Box()

    def outer(event: Any) -> None:
        results = [renderer.invoke("echo", 1), renderer.send_sync("sync", 2)]
        broker.send("a", "inner", 3)
        results.append(renderer.wait_for("inner", PATIENCE)[1])
        done(event, results)

    @broker.ipc_main.on("sync")
    def sync(event: Any, number: int) -> None:
        event.return_value = number

    renderer.on("outer", outer)
    broker.send("a", "outer")
    assert done.args(1) == [[[1], 2, 3]]


@pytest.mark.contract("3.14")
def test_invoke_back_and_forth(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    @broker.ipc_main.handle("down")
    async def down(event: Any, depth: int) -> Any:
        return await event.sender.invoke("up", depth) if depth else "bottom"

    # The handler that is invoked waits in `invoke` itself: further ones queue, and this one asks main only.
    renderer.handle("up", lambda event, depth: renderer.invoke("down", 0))
    assert renderer.invoke("down", 1) == "bottom"


@pytest.mark.contract("3.14", "5.7")
def test_cancelled_handler_runs_on_and_is_answered_once(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    called, go_on, ran = threading.Event(), threading.Event(), Box()

    def slow(event: Any) -> str:
        called.set()
        assert go_on.wait(PATIENCE)
        return "too late"

    renderer.handle("slow", slow)
    renderer.handle("waits", ran)
    first = start(broker, "slow", timeout=0.05)
    assert called.wait(PATIENCE)
    second = start(broker, "waits", timeout=0.01)
    for wait in (first, second):
        with pytest.raises(mainbus.InvokeTimeout):
            wait()
    # The cancels are here once this is answered.
    renderer.invoke("echo")
    wire = broker.contents("a")._peer.wire
    received = broker.call(lambda: wire.received)
    go_on.set()
    renderer.handle("last", lambda event: "last")
    assert start(broker, "last")() == "last"
    assert ran.empty
    assert broker.call(lambda: wire.received) == received + 1


@pytest.mark.contract("3.14", "2.6")
def test_once_is_for_one_message(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    once, each = Box(), Box()
    renderer.once("item", once)
    renderer.on("item", each)
    renderer.handle_once("ask", lambda event: 1)
    for number in range(3):
        broker.send("a", "item", number)
    assert each.args(3) == [0, 1, 2]
    assert once.args(1) == [0]
    assert once.empty
    assert start(broker, "ask")() == 1
    with pytest.raises(mainbus.NoHandlerError):
        start(broker, "ask")()


@pytest.mark.contract("3.14", "2.8")
def test_error_of_a_listener_is_logged_and_stops_no_other(
    broker: BrokerThread, renderer: BlockingRenderer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(event: Any, number: int) -> None:
        raise ValueError("some error")

    def leave(event: Any, number: int) -> None:
        raise SystemExit

    got = Box()
    renderer.on("item", fail)
    renderer.on("item", lambda event: None)
    renderer.on("item", got)
    renderer.on("leave", leave)
    broker.send("a", "item", 1)
    broker.send("a", "leave", 2)
    broker.send("a", "item", 3)
    assert got.args(2) == [1, 3]
    assert caplog.text.count("ValueError: some error") == 2
    assert "takes no arguments after the event, but 1 was sent" in caplog.text


@pytest.mark.contract("3.14", "3.2")
def test_senders_choose_whose_messages_come(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    main, others, both = Box(), Box(), Box()
    renderer.on("item", main)
    renderer.on("item", others, senders="renderers")
    renderer.on("item", both, senders="any")
    renderer.handle("only main", lambda event: 1)
    with mainbus.blocking.connect(broker.address) as other:
        other.send_to("a", "item", 1)
        with pytest.raises(mainbus.NoHandlerError):
            other.invoke_to("a", "only main")
    broker.send("a", "item", 2)
    assert both.args(2) == [1, 2]
    assert main.args(1) == [2]
    assert others.args(1) == [1]
    assert main.empty
    assert others.empty


@pytest.mark.contract("3.14", "9.2")
def test_slow_listener_slows_its_sender_down(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    called, go_on, got = threading.Event(), threading.Event(), Box()

    def slow(event: Any) -> None:
        called.set()
        assert go_on.wait(PATIENCE)

    renderer.on("slow", slow)
    renderer.on("item", got)
    broker.send("a", "slow")
    assert called.wait(PATIENCE)
    contents = broker.contents("a")
    part = bytes(64 * 1024)

    async def send() -> None:
        for number in range(400):
            contents.send("item", number, part)
            if number % 10 == 0:
                # The renderer reads all the while.
                await asyncio.sleep(0)

    async def drain() -> None:
        await contents.drain()

    broker.run(send())
    for _ in range(3):
        renderer.invoke("echo")
    # It has 25 MiB to come, and keeps a little over one.
    assert renderer.stats()["waiting"] < 100
    assert got.empty
    go_on.set()
    broker.run(drain())
    assert got.args(400) == list(range(400))


@pytest.mark.contract("3.14", "3.12")
def test_events_of_the_connection_come_in_order_with_the_messages(broker: BrokerThread, address: str) -> None:
    seen = Box()
    renderer = mainbus.blocking.connect(address, name="a")
    renderer.events.on("peer-joined", lambda id, name: seen(None, f"joined {name}"))
    renderer.events.on("peer-left", lambda id, name: seen(None, f"left {name}"))
    renderer.on("hello", seen, senders="renderers")
    with renderer:
        renderer.peers()  # the broker knows by then that this one watches
        with mainbus.blocking.connect(address, name="b") as other:
            other.send_to("a", "hello", "hello")
        assert seen.args(3) == ["joined b", "hello", "left b"]


@pytest.mark.contract("3.14", "8.7")
def test_body_that_does_not_decode_is_told(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    told, got = Box(), Box()
    renderer.events.on("message-error", told)
    renderer.on("item", got)
    renderer.handle("item", got)
    peer = broker.contents("a")._peer
    for body in (b"\xff", clone.encode("no list"), clone.encode(["whole"])):
        packet = build(Kind.SEND, channel=b"item", body=body)
        broker.call(peer.outbox.put, packet)
    assert got.args(1) == ["whole"]
    assert [told.get(), told.get()] == [(0, "item"), (0, "item")]
    assert renderer.is_connected


@pytest.mark.contract("3.14", "8.7")
def test_invoke_that_does_not_decode_is_answered_before_its_sender_is_closed(
    broker: BrokerThread, renderer: BlockingRenderer
) -> None:
    told = Box()
    renderer.events.on("message-error", told)
    renderer.handle("item", lambda event: None, senders="any")
    with mainbus.blocking.connect(broker.address, reconnect=False) as other:
        gone, session, sender = Box(), other._session, other.id
        assert session is not None
        other.events.on("disconnected", gone)
        bad = partial(session.invoke, Kind.INVOKE, MAIN, "a", "item", b"item", b"\xff", None)
        with pytest.raises(mainbus.BadMessage):
            other._loop.wait(lambda waiter: waiter.follow(bad()))
        assert told.get() == (sender, "item")
        gone.get()
    assert renderer.is_connected
    assert renderer.invoke("echo", 1) == [1]


def test_events_that_nobody_takes_are_bounded(
    broker: BrokerThread, renderer: BlockingRenderer, caplog: pytest.LogCaptureFixture
) -> None:
    called, go_on = threading.Event(), threading.Event()

    def slow(event: Any) -> None:
        called.set()
        assert go_on.wait(PATIENCE)

    caplog.set_level(logging.CRITICAL, "mainbus")
    renderer.on("slow", slow)
    broker.send("a", "slow")
    assert called.wait(PATIENCE)
    for _ in range(EVENTS_KEPT + 100):
        renderer.send_to("nobody", "x")
    renderer.invoke("echo")
    assert renderer.stats()["waiting"] == EVENTS_KEPT
    go_on.set()


@pytest.mark.contract("8.5", "3.14")
def test_annotated_parameters_are_checked(
    broker: BrokerThread, renderer: BlockingRenderer, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[object] = []

    def double(event: Any, number: int) -> int:
        ran.append(number)
        return 2 * number

    renderer.handle("double", double)
    renderer.handle("anything", lambda event, number: number)
    renderer.on("number", double)
    renderer.handle("unchecked", double, validate=False)
    assert start(broker, "double", 1)() == 2
    with pytest.raises(mainbus.ValidationError, match=r"remote method 'double': .*: number: Expected `int`"):
        start(broker, "double", "a")()
    broker.call(broker.contents("a").send, "number", "a")
    assert start(broker, "unchecked", "a")() == "aa"
    assert ran == [1, "a"]
    assert "a listener of channel 'number' failed" in caplog.text
