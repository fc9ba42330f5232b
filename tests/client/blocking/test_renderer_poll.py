"""A renderer that its own thread polls: for loops of others, such as those of Tk and Qt."""

import selectors
import signal
import threading
from collections.abc import Iterator
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread


@pytest.fixture
def renderer(broker: BrokerThread) -> Iterator[BlockingRenderer]:
    with mainbus.blocking.connect(broker.address, name="a", poll=True) as opened:
        yield opened


def arrived(renderer: BlockingRenderer, timeout: float) -> bool:
    """Say whether the descriptor is readable."""
    with selectors.DefaultSelector() as selector:
        selector.register(renderer, selectors.EVENT_READ)
        return bool(selector.select(timeout))


@pytest.mark.contract("3.14")
def test_listeners_run_in_poll_and_nowhere_else(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    got = Box()
    renderer.on("item", got)
    broker.send("a", "item", 1)
    assert arrived(renderer, PATIENCE)
    assert got.empty
    assert renderer.poll() == 1
    assert got.args(1) == [1]
    assert got.threads == {threading.current_thread().name}


@pytest.mark.contract("3.14")
def test_descriptor_is_readable_while_there_is_work(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    got = Box()
    renderer.on("item", got)
    assert not arrived(renderer, 0)
    assert renderer.poll() == 0
    for number in range(3):
        broker.send("a", "item", number)
    renderer.invoke("echo")  # answered behind them
    assert arrived(renderer, 0)
    assert arrived(renderer, 0)
    assert renderer.poll() == 3
    assert not arrived(renderer, 0)
    broker.send("a", "item", 3)
    assert arrived(renderer, PATIENCE)
    assert renderer.poll() == 1
    assert got.args(4) == [0, 1, 2, 3]


@pytest.mark.contract("3.14")
def test_poll_waits_as_long_as_it_may(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    renderer.on("item", Box())
    assert renderer.poll(0.01) == 0
    sent = in_thread(lambda: broker.send("a", "item", 1))
    assert renderer.poll(PATIENCE) == 1
    sent()
    sent = in_thread(lambda: broker.send("a", "item", 1))
    assert renderer.poll(None) == 1
    sent()
    with pytest.raises(ValueError, match="timeout"):
        renderer.poll(-1)


@pytest.mark.contract("3.14")
def test_what_came_before_a_listener_was_registered_still_reaches_it(
    broker: BrokerThread, renderer: BlockingRenderer
) -> None:
    kept, taken_out = Box(), Box()
    renderer.on("item", taken_out)
    broker.send("a", "item", 1)
    assert arrived(renderer, PATIENCE)
    renderer.on("item", kept)
    renderer.off("item", taken_out)
    renderer.poll()
    assert kept.args(1) == [1]
    assert taken_out.empty


@pytest.mark.contract("3.14")
def test_listener_may_invoke_and_poll_and_wait(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    log: list[object] = []

    def outer(event: Any) -> None:
        log.append(renderer.invoke("echo", 1))
        broker.send("a", "inner", 2)
        log.append(renderer.wait_for("inner", PATIENCE)[1])
        broker.send("a", "item", 3)
        renderer.poll(PATIENCE)
        log.append("end")

    renderer.on("outer", outer)
    renderer.on("item", lambda event, number: log.append(number))
    broker.send("a", "outer")
    assert renderer.poll(PATIENCE) == 1
    assert log == [[1], 2, 3, "end"]


@pytest.mark.contract("3.14")
def test_invoke_of_this_renderer_is_answered_in_poll(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    renderer.handle("add", lambda event, a, b: a + b)
    contents = broker.contents("a")

    async def invoke() -> Any:
        return await contents.invoke("add", 1, 2)

    answer = in_thread(lambda: broker.run(invoke()))
    assert renderer.poll(PATIENCE) == 1
    assert answer() == 3


@pytest.mark.contract("3.14")
def test_arrivals_meanwhile_are_for_the_next_poll(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    rounds = Box()

    def again(event: Any, number: int) -> None:
        rounds(event, number)
        renderer.send("again", number + 1)
        renderer.invoke("echo")  # until it is back

    broker.ipc_main.on("again", lambda event, number: event.reply("again", number))
    renderer.on("again", again)
    renderer.send("again", 0)
    assert [renderer.poll(PATIENCE) for _ in range(3)] == [1, 1, 1]
    assert rounds.args(3) == [0, 1, 2]


@pytest.mark.contract("3.14")
def test_wait_for_and_listen_run_the_other_listeners_meanwhile(
    broker: BrokerThread, renderer: BlockingRenderer
) -> None:
    others = Box()
    renderer.on("other", others)
    messages = renderer.listen("item")
    for number in range(3):
        broker.send("a", "other", number)
        broker.send("a", "item", number)
    assert [next(messages)[1] for _ in range(3)] == [0, 1, 2]
    assert others.args(3) == [0, 1, 2]
    assert others.threads == {threading.current_thread().name}
    broker.send("a", "other", 3)
    broker.send("a", "item", 3)
    assert renderer.wait_for("item", PATIENCE)[1] == 3
    assert others.args(1) == [3]


@pytest.mark.contract("3.14")
def test_full_iterator_holds_everything_until_one_is_taken(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    messages = renderer.listen("item", 2)
    for number in range(4):
        broker.send("a", "item", number)
    renderer.invoke("echo")
    assert renderer.poll() == 2
    assert renderer.poll() == 0
    assert not arrived(renderer, 0)
    assert next(messages)[1] == 0
    assert arrived(renderer, 0)
    assert renderer.poll() == 1
    assert [next(messages)[1] for _ in range(3)] == [1, 2, 3]


@pytest.mark.contract("3.14")
def test_other_threads_do_not_poll(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    with pytest.raises(mainbus.LocalProtocolError, match="the thread that opened this renderer"):
        in_thread(renderer.poll)()
    # They may wait, while the right one polls.
    waited = in_thread(lambda: renderer.wait_for("item", PATIENCE))
    while not renderer.listener_count("item"):
        renderer.poll()
    broker.send("a", "item", 1)
    assert renderer.poll(PATIENCE) == 1
    assert waited()[1] == 1


@pytest.mark.contract("3.14")
def test_without_poll_listeners_have_their_own_thread(broker: BrokerThread) -> None:
    got = Box()
    with mainbus.blocking.connect(broker.address, name="b") as renderer:
        renderer.on("item", got)
        for verb in (renderer.poll, renderer.fileno):
            with pytest.raises(mainbus.LocalProtocolError, match="poll=True"):
                verb()
        broker.send("b", "item", 1)
        assert got.args(1) == [1]
        assert got.threads == {"mainbus listeners"}


@pytest.mark.contract("3.14", "2.12")
def test_main_hears_of_the_first_poll(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    contents = broker.contents("a")
    ready = in_thread(lambda: broker.run(contents.ready()))
    renderer.poll()
    ready()


@pytest.mark.contract("3.14")
def test_poll_ends_when_nothing_can_come_any_more(address: str) -> None:
    gone, got = Box(), Box()
    with BrokerThread(address) as broker:
        renderer = mainbus.blocking.connect(address, name="a", poll=True, reconnect=False).open()
        renderer.events.on("disconnected", gone)
        renderer.on("item", got)
        broker.send("a", "item", 1)
        assert arrived(renderer, PATIENCE)
    while gone.empty:
        renderer.poll(PATIENCE)
    assert got.args(1) == [1]
    with pytest.raises(mainbus.ConnectionLost):
        renderer.poll(None)
    renderer.close()


@pytest.mark.contract("3.14")
def test_ctrl_c_interrupts_poll(renderer: BlockingRenderer) -> None:
    main = threading.get_ident()

    def interrupt() -> None:
        renderer.invoke("echo")
        signal.pthread_kill(main, signal.SIGINT)

    def poll() -> None:
        interrupted = in_thread(interrupt)
        try:
            renderer.poll(None)
        finally:
            interrupted()

    with pytest.raises(KeyboardInterrupt):
        poll()
    assert renderer.poll() == 0


@pytest.mark.contract("3.14")
def test_exit_of_a_listener_leaves_poll(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    def leave(event: Any) -> None:
        raise SystemExit(3)

    contents = broker.contents("a")

    async def invoke() -> Any:
        return await contents.invoke("leave")

    renderer.handle("leave", leave)
    answer = in_thread(lambda: broker.run(invoke()))
    with pytest.raises(SystemExit):
        renderer.poll(PATIENCE)
    with pytest.raises(mainbus.ReplyNeverSent):
        answer()
    assert renderer.poll() == 0


def test_listener_may_close_in_poll(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    renderer.on("quit", lambda event: renderer.close())
    broker.send("a", "quit")
    assert renderer.poll(PATIENCE) == 1
    with pytest.raises(mainbus.ObjectDestroyedError):
        renderer.poll()
