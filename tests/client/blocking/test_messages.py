"""listen() without a loop: nothing dropped, bounded, and over when the renderer is."""

import gc
import threading
from collections.abc import Iterator

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer

from tests.support.threads import PATIENCE, Box, BrokerThread, in_thread


@pytest.fixture
def renderer(broker: BrokerThread) -> Iterator[BlockingRenderer]:
    with mainbus.blocking.connect(broker.address, name="a") as opened:
        yield opened


@pytest.mark.contract("3.14", "3.9")
def test_each_message_once_and_in_order(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    messages = renderer.listen("item")
    assert iter(messages) is messages
    for number in range(100):
        broker.send("a", "item", number, "more")
    taken = [next(messages) for _ in range(100)]
    assert [message[1:] for message in taken] == [(number, "more") for number in range(100)]
    assert taken[0][0].sender is renderer


@pytest.mark.contract("3.14", "3.9")
def test_full_one_holds_the_others_up_and_drops_nothing(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    after = Box()
    messages = renderer.listen("item", max_queue=3)
    renderer.on("after", after)
    for number in range(10):
        broker.send("a", "item", number)
    broker.send("a", "after", "after")
    renderer.invoke("echo")
    assert after.empty
    assert [next(messages)[1] for _ in range(10)] == list(range(10))
    assert after.args(1) == ["after"]


@pytest.mark.contract("3.14", "3.9")
def test_closing_lets_the_others_go_on(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    after = Box()
    renderer.on("after", after)
    with renderer.listen("item", max_queue=1) as messages:
        for number in range(3):
            broker.send("a", "item", number)
        broker.send("a", "after", "after")
        assert next(messages)[1] == 0
    assert after.args(1) == ["after"]
    assert renderer.listener_count("item") == 0


@pytest.mark.contract("3.14", "3.9")
def test_what_waits_when_it_is_closed_is_still_taken(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    after = Box()
    renderer.on("after", after)
    messages = renderer.listen("item")
    for number in range(3):
        broker.send("a", "item", number)
    broker.send("a", "after", "after")
    after.get()
    messages.close()
    messages.close()
    broker.send("a", "item", 3)
    broker.send("a", "after", "after")
    after.get()
    assert [message[1] for message in messages] == [0, 1, 2]


@pytest.mark.contract("3.14", "3.9")
def test_dropping_it_lets_the_others_go_on(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    after = Box()
    renderer.on("after", after)
    messages = renderer.listen("item", max_queue=1)
    for number in range(3):
        broker.send("a", "item", number)
    broker.send("a", "after", "after")
    for _ in messages:
        break
    del messages
    gc.collect()
    assert after.args(1) == ["after"]
    assert renderer.listener_count("item") == 0


def test_two_threads_share_one(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    messages = renderer.listen("item")

    def take() -> list[int]:
        return [next(messages)[1] for _ in range(50)]

    both = [in_thread(take), in_thread(take)]
    for number in range(100):
        broker.send("a", "item", number)
    first, second = (wait() for wait in both)
    assert sorted(first + second) == list(range(100))
    assert first == sorted(first)


@pytest.mark.contract("3.14", "3.9")
def test_wait_for_one_message(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    waited = in_thread(lambda: renderer.wait_for("item", PATIENCE))
    others = in_thread(lambda: renderer.wait_for("item", PATIENCE, senders="renderers"))
    while renderer.listener_count("item") < 2:
        renderer.invoke("echo")
    with mainbus.blocking.connect(broker.address) as other:
        other.send_to("a", "item", "other")
        assert others()[1] == "other"
    broker.send("a", "item", "main")
    event, text = waited()
    assert (event.channel, text) == ("item", "main")
    assert renderer.listener_count("item") == 0
    with pytest.raises(mainbus.InvokeTimeout):
        renderer.wait_for("item", 0.01)
    assert renderer.listener_count("item") == 0


@pytest.mark.contract("3.14", "3.9")
def test_it_ends_with_the_renderer_after_what_waits(broker: BrokerThread, renderer: BlockingRenderer) -> None:
    messages = renderer.listen("item")
    broker.send("a", "item", 1)
    broker.send("a", "item", 2)
    assert next(messages)[1] == 1
    seen = threading.Event()
    renderer.on("item", lambda event, number: seen.set() if number == 3 else None)
    broker.send("a", "item", 3)
    assert seen.wait(PATIENCE)
    renderer.close()
    assert [message[1] for message in messages] == [2, 3]


def test_max_queue_is_at_least_one(renderer: BlockingRenderer) -> None:
    with pytest.raises(ValueError, match="max_queue"):
        renderer.listen("item", 0)
