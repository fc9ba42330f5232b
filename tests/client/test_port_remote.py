"""The way from one end over a connection: what leaves at once, what is held, and what becomes of that."""

import asyncio

import pytest
from mainbus import MessageTooLarge, SendQueueFull
from mainbus.port_core import MAX_UNSENT
from mainbus.port_remote import Remote
from mainbus.ports import MessageChannel
from mainbus.wire import clone
from mainbus.wire.credit import OVERHEAD, WINDOW

from tests.support.bus import until
from tests.support.port_records import Records, heard, pair

FULL = WINDOW // (OVERHEAD + 1)
"""Small messages that leave without any credit, but for the last one."""


def post(remote: Remote, *numbers: int) -> None:
    for number in numbers:
        remote.post(clone.encode(number), [])


def messages(records: Records) -> list[object]:
    """Return the messages that have left since the last time, when nothing else has."""
    sent = records.take()
    assert all(kind == "message" and number == 3 for kind, number, *_ in sent), sent
    return [message[2] for message in sent]


def full(remote: Remote, records: Records) -> None:
    """Let so much leave that the next message has to wait."""
    while remote.keeps_up:
        remote.post(clone.encode(None), [])
    records.take()


@pytest.mark.contract("9.2")
async def test_a_window_of_messages_leaves_and_the_rest_waits_for_credit() -> None:
    records, _, remote = pair()
    post(remote, *([1] * (FULL + 3)))
    assert len(messages(records)) == FULL + 1
    assert not remote.keeps_up
    # What is over the window by one message has to be taken first.
    remote.credited(1)
    assert len(messages(records)) == 0
    remote.credited(OVERHEAD + 2)
    assert len(messages(records)) == 1
    remote.credited(WINDOW)
    assert len(messages(records)) == 1
    assert remote.keeps_up


async def test_a_message_of_any_size_leaves_while_there_is_credit_and_small_ones_wait_behind_it() -> None:
    records, _, remote = pair()
    remote.post(clone.encode(bytes(10 * WINDOW)), [])
    post(remote, 2)
    assert len(records.take()) == 1
    remote.credited(10 * WINDOW + 20 + OVERHEAD)
    assert messages(records) == [2]


async def test_order_is_kept_among_what_is_held() -> None:
    records, _, remote = pair()
    full(remote, records)
    post(remote, *range(5))
    remote.credited(2 * OVERHEAD)
    post(remote, 5)
    remote.credited(10 * WINDOW)
    assert messages(records) == list(range(6))


async def test_what_the_owner_before_has_posted_counts() -> None:
    records = Records()
    (port,) = records.arrive([(2, WINDOW)])
    end = port.end
    assert end is not None
    port.post_message("waits")
    assert records.take() == []
    records.credit(2, 1)
    assert records.take() == [("message", 2, "waits")]
    port.close()


async def test_nothing_leaves_before_the_broker_knows_the_number() -> None:
    records, channel = Records(), MessageChannel()
    back = records.leave(channel.port2)
    assert back is not None
    assert not back.opened
    channel.port1.post_message("early")
    channel.port1.close()
    back.credited(1)
    assert records.take() == []
    back.open()
    assert records.take() == [("message", 3, "early"), ("close", 3, 0)]


async def test_a_close_leaves_behind_what_is_held() -> None:
    records, _, remote = pair()
    full(remote, records)
    post(remote, 1, 2)
    remote.close()
    assert records.take() == []
    remote.credited(OVERHEAD + 2)
    assert messages(records) == [1]
    remote.credited(OVERHEAD + 2)
    assert records.take() == [("message", 3, 2), ("close", 3, 0)]
    remote.close()
    assert records.take() == []


async def test_without_anybody_to_take_it_what_is_held_is_dropped_with_its_ports() -> None:
    records, port, remote = pair()
    inner = MessageChannel()
    log = heard(inner.port1)
    full(remote, records)
    port.post_message("never", [inner.port2])
    remote.ended()
    assert records.take() == []
    await until(lambda: log)
    assert log == ["closed"]
    port.start()
    await until(lambda: len(records) == 1)
    assert records.take() == [("close", 3, 0)]


async def test_one_that_was_closed_and_waits_says_so_when_the_other_end_is_gone() -> None:
    records, port, remote = pair()
    full(remote, records)
    port.post_message("never")
    port.close()
    assert records.take() == []
    remote.ended()
    assert records.take() == [("close", 3, 0)]


async def test_who_sends_what_does_not_decode_is_blamed_at_once() -> None:
    records, _, remote = pair()
    full(remote, records)
    post(remote, 1)
    remote.blame()
    assert records.take() == [("close", 3, 20)]
    remote.credited(WINDOW)
    assert records.take() == []


async def test_in_a_hurry_everything_leaves_and_is_counted() -> None:
    records, _, remote = pair()
    full(remote, records)
    post(remote, *range(200))
    remote.hurry()
    assert messages(records) == list(range(200))
    assert not remote.keeps_up
    remote.credited(100 * OVERHEAD)
    assert not remote.keeps_up
    remote.credited(200 * OVERHEAD)
    assert remote.keeps_up


async def test_credit_for_the_other_end_leaves_at_once() -> None:
    records, _, remote = pair()
    full(remote, records)
    remote.give(5)
    assert records.take() == [("credit", 3, 5)]


async def test_credit_wakes_whoever_waits_for_it() -> None:
    records, port, remote = pair()
    full(remote, records)
    end = port.end
    assert end is not None
    asked: list[bool] = []

    def done() -> bool:
        asked.append(remote.keeps_up)
        return remote.keeps_up

    assert not remote.keeps_up
    waiting = asyncio.ensure_future(end.wait_until(done))
    await asyncio.sleep(0)
    remote.credited(10 * OVERHEAD)
    await waiting
    assert asked == [False, True]


@pytest.mark.contract("9.2")
async def test_what_waits_is_bounded() -> None:
    records, port, remote = pair()
    full(remote, records)
    body = bytes(MAX_UNSENT // 4)
    for _ in range(4):
        remote.check_room(len(body))
        remote.post(clone.encode(body), [])
    with pytest.raises(SendQueueFull):
        port.post_message("one more")
    remote.credited(2 * WINDOW)
    remote.check_room(1)
    assert len(messages(records)) == 1


async def test_a_message_is_no_longer_than_the_connection_allows() -> None:
    channel, records = MessageChannel(), Records(max_message=100)
    back = records.leave(channel.port2)
    assert back is not None
    back.check_room(100)
    with pytest.raises(MessageTooLarge):
        back.check_room(101)
