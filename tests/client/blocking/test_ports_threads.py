"""Ports that several threads use at once: order, transfers meanwhile, and waits that are woken."""

import threading
from functools import partial
from itertools import islice
from typing import Any

import pytest
from mainbus.blocking import BlockingRenderer, MessageChannel
from mainbus.blocking.port_end import LOCK
from mainbus.errors import PortError

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread, passed

THREADS = 3


@pytest.fixture(autouse=True)
def slow_to_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no wait look up by itself: one that nobody wakes fails its test."""
    monkeypatch.setattr("mainbus.blocking.monitor.SLICE", 60.0)


def post(port: Any, thread: int, count: int) -> None:
    for number in range(count):
        port.post_message((thread, number))


def posting(port: Any, count: int) -> list[Any]:
    """Post on a port from some threads; returns what waits for each."""
    return [in_thread(partial(post, port, thread, count)) for thread in range(THREADS)]


def by_thread(messages: list[Any]) -> dict[int, list[int]]:
    return {thread: [number for of, number in messages if of == thread] for thread in range(THREADS)}


def all_of(count: int) -> dict[int, list[int]]:
    return {thread: list(range(count)) for thread in range(THREADS)}


# Order


@pytest.mark.contract("3.14")
def test_any_threads_may_post_and_each_keeps_its_order(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    count = 500

    def post(thread: int) -> None:
        for number in range(count):
            here.post_message((thread, number))

    waits = [in_thread(partial(post, thread)) for thread in range(4)]
    seen: dict[int, list[int]] = {thread: [] for thread in range(4)}
    for _ in range(4 * count):
        thread, number = next(iter(there)).data
        seen[thread].append(number)
    for wait in waits:
        wait()
    assert seen == {thread: list(range(count)) for thread in range(4)}
    here.close()


@pytest.mark.contract("3.14")
def test_threads_that_iterate_share_the_messages(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    waits = [in_thread(lambda: [event.data for event in there]) for _ in range(3)]
    for number in range(300):
        here.post_message(number)
    here.close()
    assert sorted(number for wait in waits for number in wait()) == list(range(300))


def test_two_threads_cannot_transfer_the_same_port(renderer: BlockingRenderer) -> None:
    for _ in range(50):
        channel = MessageChannel()
        start = threading.Barrier(2)

        def send(channel: MessageChannel = channel, start: threading.Barrier = start) -> bool:
            start.wait()
            try:
                renderer.post_message("nobody", None, [channel.port2])
            except PortError:
                return False
            return True

        assert sorted(wait() for wait in [in_thread(send), in_thread(send)]) == [False, True]
        assert list(channel.port1) == []


@pytest.mark.contract("7.2")
def test_threads_post_while_the_other_end_moves(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    again, got = Box(), []
    waits = posting(here, 300)
    with other.on("pass", again):
        for _ in range(20):
            got += [event.data for event in islice(there, 45)]
            other.post_message("pass", None, [there])
            (there,) = again.get()[0].ports
    for wait in waits:
        wait()
    assert by_thread(got) == all_of(300)
    here.close()
    assert list(there) == []


@pytest.mark.contract("7.2")
def test_threads_post_while_a_port_goes_from_thread_to_thread() -> None:
    channel, baton = MessageChannel(), MessageChannel()
    got: list[Any] = []

    def take(side: Any) -> None:
        for event in side:
            (port,) = event.ports
            got.extend(event.data for event in islice(port, 45))
            if len(got) == 900:
                side.close()
            else:
                side.post_message(None, [port])

    waits = posting(channel.port1, 300)
    takers = [in_thread(partial(take, side)) for side in (baton.port1, baton.port2)]
    baton.port1.post_message(None, [channel.port2])
    for wait in waits + takers:
        wait()
    assert by_thread(got) == all_of(300)


@pytest.mark.contract("7.2")
@pytest.mark.contract("7.4")
def test_of_what_a_thread_posts_on_a_port_that_leaves_the_first_part_arrives(
    renderer: BlockingRenderer, other: BlockingRenderer
) -> None:
    for _ in range(10):
        here, there = passed(renderer, other)
        gone, got = threading.Event(), Box()

        def keep_posting(here: Any = here, gone: threading.Event = gone) -> None:
            number = 0
            while not gone.is_set():
                here.post_message(number)
                number += 1

        wait = in_thread(keep_posting)
        first = [event.data for event in islice(there, 50)]
        with other.on("pass", got):
            renderer.post_message("pass", None, [here])
            gone.set()
            moved = got.get()[0].ports[0]
        moved.post_message("last")
        moved.close()
        *rest, last = [event.data for event in there]
        wait()
        assert first + rest == list(range(50 + len(rest)))
        assert last == "last"


@pytest.mark.contract("7.2")
def test_credit_for_what_a_port_has_taken_leaves_in_front_of_it(
    broker: BrokerThread, renderer: BlockingRenderer
) -> None:
    far, over, hops = Box(), threading.Event(), 0
    broker.ipc_main.on("first", lambda event, message: far(event.ports[0]))

    def back(event: Any, message: object) -> None:
        event.sender.post_message("port", None, event.ports)
        end.post_message(bytes(200_000))

    def arrived(event: Any, message: object) -> None:
        (port,) = event.ports
        port.on("message", partial(taken, port))
        port.start()

    def taken(port: Any, event: Any) -> None:
        nonlocal hops
        hops += 1
        if hops == 18:
            over.set()
            return
        stopped = threading.Event()

        def stop() -> None:
            stopped.set()
            with LOCK:
                pass

        assert renderer.home.loop is not None
        with LOCK:
            renderer.home.loop.post(stop)
            stopped.wait(PATIENCE)
            # So many calls that the reader thread has a turn between the transfer and what is asked for behind it.
            for _ in range(252 + hops // 3):
                renderer.send("noise")
            renderer.post_message("back", None, [port])

    broker.ipc_main.on("back", back)
    renderer.on("port", arrived)
    channel = MessageChannel()
    renderer.post_message("first", None, [channel.port1])
    (end,) = far.get()
    renderer.post_message("back", None, [channel.port2])
    # Without it the main process would soon have no credit left to post with.
    assert over.wait(PATIENCE)
    broker.call(end.close)


# Waits


@pytest.mark.contract("7.1")
@pytest.mark.contract("7.3")
@pytest.mark.parametrize("by", ["itself", "the other end", "a transfer", "its renderer", "the broker"])
def test_an_iteration_that_waits_ends(
    broker: BrokerThread, renderer: BlockingRenderer, other: BlockingRenderer, by: str
) -> None:
    here, there = passed(renderer, other)
    took = Box()

    def iterate() -> str:
        for event in there:
            took(event.data)
        return "over"

    waits = [in_thread(iterate), in_thread(iterate)]
    here.post_message(1)
    assert took.get() == (1,)
    match by:
        case "itself":
            there.close()
        case "the other end":
            here.close()
        case "a transfer":
            other.post_message("nobody", None, [there])
        case "its renderer":
            other.close()
        case _:
            broker.call(broker.contents("b").close, "enough")
    assert [wait() for wait in waits] == ["over", "over"]
    here.close()


@pytest.mark.contract("7.1")
@pytest.mark.parametrize("by", ["taken", "closed", "transferred"])
def test_a_drain_that_waits_ends(renderer: BlockingRenderer, other: BlockingRenderer, by: str) -> None:
    here, there = passed(renderer, other)
    here.post_message(bytes(1_000_000))
    with pytest.raises(TimeoutError, match=r"not taken within 0\.01 s"):
        here.drain(0.01)
    waits = [in_thread(here.drain), in_thread(partial(here.drain, timeout=PATIENCE))]
    match by:
        case "taken":
            assert len(next(iter(there)).data) == 1_000_000
        case "closed":
            here.close()
        case _:
            renderer.post_message("nobody", None, [here])
    for wait in waits:
        wait()
    here.close()


def test_drain_refuses_what_is_no_time(renderer: BlockingRenderer) -> None:
    channel = MessageChannel()
    with pytest.raises(ValueError, match="Expected timeout"):
        channel.port1.drain(-1)
    with pytest.raises(TypeError, match="Expected timeout"):
        channel.port1.drain("1")  # type: ignore[arg-type]
    channel.port1.drain(0)


@pytest.mark.contract("3.14")
def test_a_listener_that_drains_runs_the_others_until_its_time_is_over(
    renderer: BlockingRenderer, other: BlockingRenderer
) -> None:
    here, there = passed(renderer, other)
    got, outcome = Box(), Box()

    def drain_here(event: Any) -> None:
        try:
            here.drain(0.05)
        except TimeoutError:
            outcome("late")
        here.drain()
        outcome("drained")

    carrier = MessageChannel(renderer)
    carrier.port1.on("message", drain_here)
    carrier.port1.start()
    here.on("message", got)
    here.start()
    here.post_message(bytes(1_000_000))
    carrier.port2.post_message("go")
    there.post_message("meanwhile")
    assert got.get()[0].data == "meanwhile"
    assert outcome.get() == ("late",)
    list(islice(there, 1))
    assert outcome.get() == ("drained",)
    here.close()


@pytest.mark.contract("3.14")
def test_a_listener_that_waits_for_a_port_is_woken_when_that_has_another_renderer(
    broker: BrokerThread, renderer: BlockingRenderer, other: BlockingRenderer
) -> None:
    channel, waiting, got, far = MessageChannel(renderer), Box(), Box(), Box()

    def wait_for_it(event: Any) -> None:
        waiting()
        got(next(iter(channel.port1)).data)

    carrier = MessageChannel(renderer)
    carrier.port1.on("message", wait_for_it)
    carrier.port1.start()
    carrier.port2.post_message("go")
    waiting.get()
    broker.ipc_main.on("port", lambda event, message: far(event.ports[0]))
    other.post_message("port", None, [channel.port2])
    (end,) = far.get()
    broker.call(end.post_message, "here")
    assert got.get() == ("here",)
    broker.call(end.close)
    carrier.port1.close()


@pytest.mark.contract("3.14")
def test_threads_on_both_sides_talk_and_transfer_at_once(
    broker: BrokerThread, renderer: BlockingRenderer, other: BlockingRenderer
) -> None:
    """Everybody takes every lock from every side; nobody may wait for ever."""

    def serve(event: Any) -> None:
        # A call to the broker in the midst of it, and a port of its own for every answer.
        other.invoke("echo")
        back = MessageChannel()
        back.port1.post_message(event.data)
        event.ports[0].post_message(None, [back.port2])
        event.ports[0].close()

    here, there = passed(renderer, other)
    there.on("message", serve)
    there.start()

    def ask(thread: int) -> list[Any]:
        answers = []
        for number in range(40):
            question = MessageChannel(renderer)
            here.post_message((thread, number), [question.port2])
            (event,) = question.port1
            answers.append(next(iter(event.ports[0])).data)
        return answers

    waits = [in_thread(partial(ask, thread)) for thread in range(THREADS)]
    assert [wait() for wait in waits] == [[[thread, number] for number in range(40)] for thread in range(THREADS)]
    here.close()
