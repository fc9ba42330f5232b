"""MessageChannel and MessagePort for threads: what they carry, in which order, and when they close."""

import gc
import os
import threading
import weakref
from typing import Any

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer, MessageChannel, MessagePort
from mainbus.errors import CloneError, LocalProtocolError, ObjectDestroyedError, PortError

from tests.support.threads import Box, BrokerThread, in_thread, passed

# 7.1, 3.14: what there is


@pytest.mark.contract("7.1")
@pytest.mark.contract("3.14")
def test_what_one_end_posts_arrives_at_the_other(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    got = Box()
    there.on("message", lambda event: got(event, event.data, event.ports))
    there.start()
    here.post_message({"x": [1, 2]})
    here.post_message()
    _, data, ports = got.get()
    assert (data, ports) == ({"x": [1, 2]}, [])
    assert got.get()[1] is None
    here.close()


@pytest.mark.contract("7.1")
def test_the_main_process_answers_a_thread(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    def answer(event: Any, message: object) -> None:
        port = event.ports[0]
        port.on("message", lambda event: (port.post_message(event.data * 2), port.close()))
        port.start()

    broker.ipc_main.on("port", answer)
    channel = MessageChannel()
    renderer.post_message("port", None, [channel.port2])
    channel.port1.post_message(21)
    assert [event.data for event in channel.port1] == [42]


@pytest.mark.contract("7.1")
@pytest.mark.contract("3.14")
def test_listeners_run_with_those_of_the_renderer(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    got, closed = Box(), Box()
    there.on("message", got)
    there.once("message", got)
    there.on("close", closed)
    there.start()
    here.post_message(1)
    here.post_message(2)
    here.close()
    assert [got.get()[0].data for _ in range(3)] == [1, 1, 2]
    closed.get()
    assert got.threads == closed.threads == {"mainbus listeners"}


def test_decorators_registrations_and_off(renderer: BlockingRenderer) -> None:
    channel, kept, gone = MessageChannel(renderer), Box(), Box()

    @channel.port1.on("message")
    def listen(event: Any) -> None:
        kept(event)

    with channel.port1.on("message", gone):
        pass
    channel.port1.on("message", gone)
    channel.port1.off("message", gone)
    channel.port1.on("close", gone)
    channel.port1.off("close", gone)
    channel.port1.start()
    channel.port2.post_message(1)
    assert kept.get()[0].data == 1
    with pytest.raises(ValueError, match="Unknown event 'open'"):
        channel.port1.on("open", kept)
    channel.port1.close()
    assert gone.empty


def test_a_listener_that_raises_harms_no_other(renderer: BlockingRenderer, caplog: pytest.LogCaptureFixture) -> None:
    def fail(event: Any) -> None:
        raise ValueError("boom")

    async def coroutine(event: Any) -> None: ...

    channel, got = MessageChannel(renderer), Box()
    channel.port1.on("message", fail)
    channel.port1.on("message", coroutine)
    channel.port1.on("message", got)
    channel.port1.start()
    channel.port2.post_message(1)
    got.get()
    assert "boom" in caplog.text
    assert "mainbus.blocking calls plain functions" in caplog.text


@pytest.mark.contract("7.3")
def test_what_an_iteration_has_left_goes_with_its_port(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    freed = Box()
    for number in range(20):
        here.post_message(number)
    assert next(iter(there)).data == 0
    gone = weakref.ref(there, freed)
    del there
    gc.collect()
    # More could come, and be iterated over by whoever has it.
    assert gone() is not None
    here.close()
    freed.get()


@pytest.mark.contract("7.1")
def test_a_channel_without_a_renderer_joins_two_threads() -> None:
    channel = MessageChannel()

    def double() -> None:
        for event in channel.port2:
            channel.port2.post_message(event.data * 2)

    wait = in_thread(double)
    got = []
    for number in range(100):
        channel.port1.post_message(number)
        got.append(next(iter(channel.port1)).data)
    channel.port1.close()
    wait()
    assert got == [2 * number for number in range(100)]


@pytest.mark.contract("3.14")
def test_listeners_of_a_new_channel_run_once_it_has_a_renderer(renderer: BlockingRenderer) -> None:
    channel, got = MessageChannel(), Box()
    channel.port1.on("message", got)
    channel.port1.start()
    channel.port2.post_message("early")
    renderer.post_message("nobody", None, [channel.port2])
    assert got.get()[0].data == "early"
    assert got.threads == {"mainbus listeners"}


def test_listeners_and_an_iteration_exclude_each_other(renderer: BlockingRenderer) -> None:
    channel = MessageChannel()
    channel.port1.on("message", Box())
    with pytest.raises(LocalProtocolError, match="has listeners"):
        iter(channel.port1)
    iter(channel.port2)
    with pytest.raises(LocalProtocolError, match="taken by an iteration"):
        channel.port2.on("message", Box())


# 7.2: queued, and transferred


@pytest.mark.contract("7.2")
def test_messages_wait_for_start_and_follow_a_transfer(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    channel, inner, got = MessageChannel(), MessageChannel(), Box()
    other.on("pass", got)
    channel.port1.post_message("before")
    inner.port1.post_message("inner before")
    channel.port1.post_message("with", [inner.port2])
    inner.port1.post_message("inner behind")
    renderer.post_message("pass", None, [channel.port2])
    channel.port1.post_message("behind")
    event, _ = got.get()
    port = iter(event.ports[0])
    assert next(port).data == "before"
    carrier = next(port)
    assert carrier.data == "with"
    nested = iter(carrier.ports[0])
    assert [next(nested).data for _ in range(2)] == ["inner before", "inner behind"]
    assert next(port).data == "behind"
    inner.port1.close()
    channel.port1.close()
    assert list(nested) == list(port) == []


@pytest.mark.contract("7.2")
def test_a_port_that_goes_on_takes_along_what_was_posted(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    for number in range(50):
        there.post_message(number)
    back = MessageChannel()
    here.post_message("take", [back.port2])
    carried = next(iter(there)).ports[0]
    carried.post_message("home", [there])
    home = next(iter(back.port1)).ports[0]
    for number in range(50, 100):
        here.post_message(number)
    assert [next(iter(home)).data for _ in range(50)] == list(range(50, 100))
    assert [next(iter(here)).data for _ in range(50)] == list(range(50))
    home.close()
    back.port1.close()


@pytest.mark.contract("7.2")
def test_large_messages_come_whole_and_in_order(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    sizes = [3_000_000, 1, 700_000, 0]
    wait = in_thread(lambda: [len(event.data) for event in there])
    for size in sizes:
        here.post_message(b"x" * size)
    here.close()
    assert wait() == sizes


# 7.3, 7.4: closing


@pytest.mark.contract("7.3")
def test_close_comes_after_what_was_queued_and_once(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    told = Box()
    here.on("close", lambda: told("here closed"))
    here.start()
    there.on("message", lambda event: told(event.data))
    there.on("close", lambda: told("there closed"))
    here.post_message(1)
    here.close()
    here.close()
    assert told.get() == ("here closed",)
    assert told.empty
    there.start()
    assert [told.get()[0] for _ in range(2)] == [1, "there closed"]
    renderer.drain()
    assert told.empty


@pytest.mark.contract("7.3")
def test_an_unstarted_end_that_is_dropped_closes_the_channel(
    renderer: BlockingRenderer, other: BlockingRenderer
) -> None:
    here, there = passed(renderer, other)
    del there
    gc.collect()
    assert list(here) == []


@pytest.mark.contract("7.3")
def test_an_end_without_a_renderer_that_is_dropped_closes_the_channel() -> None:
    channel = MessageChannel()
    port = channel.port1
    del channel
    assert list(port) == []


@pytest.mark.contract("7.3")
def test_a_started_port_needs_no_reference(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    got = Box()
    there.on("message", lambda event: got(event.data))
    there.start()
    gone = weakref.ref(there)
    del there
    gc.collect()
    here.post_message(1)
    assert got.get() == (1,)
    assert gone() is not None
    closed = Box()
    here.on("close", closed)
    here.start()
    here.close()
    closed.get()


@pytest.mark.contract("7.3")
def test_a_port_to_nobody_is_closed(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    channel = MessageChannel()
    renderer.post_message("nobody listens", None, [channel.port2])
    assert list(channel.port1) == []
    there = Box()
    broker.ipc_main.on("port", lambda event, message: there(event.ports[0]))
    channel = MessageChannel()
    renderer.post_message("port", None, [channel.port2])
    (port,) = there.get()
    closed = Box()
    broker.call(port.on, "close", closed)
    broker.call(port.start)
    carried = MessageChannel()
    channel.port1.post_message("inside", [carried.port2])
    channel.port1.close()
    closed.get()
    assert list(carried.port1) == []


@pytest.mark.contract("7.3")
def test_the_end_of_the_renderer_closes_its_ports(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    there = Box()
    broker.ipc_main.on("port", lambda event, message: there(event.ports[0]))
    with mainbus.blocking.connect(broker.address) as short:
        channel = MessageChannel()
        short.post_message("port", None, [channel.port2])
        (port,) = there.get()
        closed, wait = Box(), in_thread(lambda: list(channel.port1))
        broker.call(port.on, "close", closed)
        broker.call(port.start)
    closed.get()
    assert wait() == []
    channel.port1.post_message("to nobody")
    channel.port1.drain()
    with pytest.raises(ObjectDestroyedError):
        short.post_message("port", None)


@pytest.mark.contract("7.4")
def test_a_closed_or_transferred_port_does_nothing(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    here.close()
    here.post_message("never")
    here.close()
    assert list(there) == []
    channel = MessageChannel()
    renderer.post_message("nobody", None, [channel.port2])
    gone = channel.port2
    gone.post_message("never")
    gone.start()
    gone.close()
    gone.drain()
    assert list(gone) == []
    assert list(channel.port1) == []


# 7.5: checked before anything is sent


def neutered() -> MessagePort:
    port = MessageChannel().port1
    port.close()
    return port


@pytest.mark.contract("7.5")
@pytest.mark.parametrize("by", ["renderer", "port"])
def test_a_bad_transfer_moves_nothing(renderer: BlockingRenderer, other: BlockingRenderer, by: str) -> None:
    here, there = passed(renderer, other)
    channel = MessageChannel()
    good = channel.port2
    bad: list[tuple[list[Any], str]] = [
        ([good, "no port"], "Invalid value for transfer"),
        ([good, good], "Port at index 1 is a duplicate."),
        ([good, neutered()], "Port at index 1 is already neutered."),
    ]
    if by == "port":
        bad.append(([good, here], "Port at index 1 contains the source port."))

    def post(message: object, transfer: list[Any]) -> None:
        if by == "port":
            here.post_message(message, transfer)
        else:
            renderer.post_message("pass", message, transfer)

    for transfer, text in bad:
        with pytest.raises(PortError) as raised:
            post("bad", transfer)
        assert str(raised.value) == text
    with pytest.raises(CloneError):
        post(lambda: None, [good])
    here.post_message("good", [good])
    event = next(iter(there))
    assert event.data == "good"
    channel.port1.post_message("still alive")
    assert next(iter(event.ports[0])).data == "still alive"
    here.close()
    channel.port1.close()


@pytest.mark.contract("7.5")
async def test_a_port_of_a_loop_is_none_here(address: str) -> None:
    channel = mainbus.MessageChannel()
    with pytest.raises(PortError, match="Invalid value for transfer"):
        MessageChannel().port1.post_message(None, [channel.port1])
    with pytest.raises(PortError, match="Invalid value for transfer"):
        channel.port1.post_message(None, [MessageChannel().port1])


@pytest.mark.contract("7.5")
def test_a_port_leaves_by_its_own_connection_only(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    with pytest.raises(PortError, match="Port at index 0 belongs to another connection"):
        other.post_message("pass", None, [here])
    here.post_message(1)
    assert next(iter(there)).data == 1
    here.close()


# Flow


@pytest.mark.contract("7.1")
def test_drain_waits_for_listeners_that_take_their_time(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    began, go_on, drained = Box(), threading.Event(), Box()

    def listen(event: Any) -> None:
        began(event)
        go_on.wait(10)

    there.on("message", listen)
    there.start()
    here.post_message(b"x" * 1_000_000)
    began.get()

    def drain() -> None:
        here.drain()
        drained()

    wait = in_thread(drain)
    other.send("nobody")
    renderer.invoke("echo")
    assert drained.empty
    go_on.set()
    wait()
    here.close()


def test_drain_after_a_transfer_ends(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    channel, got = MessageChannel(), Box()
    other.on("pass", got)
    renderer.post_message("pass", None, [channel.port2])
    channel.port1.post_message(1)
    channel.port1.drain()
    assert next(iter(got.get()[0].ports[0])).data == 1
    channel.port1.close()


def test_a_listener_may_iterate_and_invoke(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    got = Box()

    def listen(event: Any) -> None:
        # More of the same port arrives meanwhile, and is given to the listeners, one level deeper.
        if event.data == "outer":
            inner = event.ports[0]
            got(other.invoke("echo", 1), [event.data for event in inner])
        else:
            got(event.data)

    there.on("message", listen)
    there.start()
    channel = MessageChannel()
    here.post_message("outer", [channel.port2])
    here.post_message("behind")
    assert got.get() == ("behind",)
    channel.port1.post_message(2)
    channel.port1.close()
    assert got.get() == ([1], [2])
    here.close()


# 3.13: a fork has none of the threads


@pytest.mark.contract("3.14")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_may_not_use_a_port(renderer: BlockingRenderer, other: BlockingRenderer) -> None:
    here, there = passed(renderer, other)
    pid = os.fork()
    if not pid:
        status = 1
        try:
            for use in (here.post_message, here.start, here.close, here.drain, here.__iter__):
                with pytest.raises(RuntimeError, match="belongs to the process that made it"):
                    use()
            del there
            gc.collect()
            fresh = MessageChannel()
            fresh.port1.post_message(1)
            assert next(iter(fresh.port2)).data == 1
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    here.post_message("still open")
    assert next(iter(there)).data == "still open"
    here.close()
