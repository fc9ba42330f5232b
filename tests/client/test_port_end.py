"""One end of a channel: what has arrived, who takes it, and when it is over."""

import asyncio
import gc
import logging
import weakref

import pytest
from mainbus import MessageChannel, SendQueueFull, port_loop
from mainbus.port_end import MAX_UNTAKEN, End
from mainbus.ports import MessagePort
from mainbus.wire import clone
from mainbus.wire.credit import OVERHEAD, WINDOW, cost

from tests.support.bus import until, within
from tests.support.port_records import Records, heard, pair


def ends() -> tuple[End, End]:
    """Return two ends that are entangled, and that nobody has."""
    loop = port_loop.running(MessagePort)
    one, two = End(loop), End(loop)
    one.other, two.other = two, one
    return one, two


async def turn() -> None:
    await asyncio.sleep(0)


def bodies(*values: object) -> list[bytes]:
    return [clone.encode(value) for value in values]


async def test_what_is_posted_is_taken_in_order_and_counted_while_it_waits() -> None:
    one, two = ends()
    for body in bodies(1, "two", None):
        one.post(body, [])
    assert two.size == sum(cost(len(body)) for body in bodies(1, "two", None))
    assert [two.take() for _ in range(4)] == [(1, []), ("two", []), (None, []), None]
    assert two.size == 0
    assert not two.is_shut


async def test_the_other_end_keeps_up_while_less_than_a_window_waits() -> None:
    one, two = ends()
    body = bytes(WINDOW - OVERHEAD - 1)
    one.post(body, [])
    assert one.keeps_up
    one.post(b"", [])
    assert not one.keeps_up
    assert two.keeps_up


@pytest.mark.contract("9.2")
async def test_what_waits_is_bounded() -> None:
    one, two = ends()
    one.post(bytes(MAX_UNTAKEN), [])
    with pytest.raises(SendQueueFull):
        one.check_room(0)
    two.close()
    one.check_room(0)


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("body", [b"", b"\xff", b"\x01\x01", b"\x81" * 2000])
async def test_what_does_not_decode_closes_the_channel_and_is_never_raised(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = ends()
    one.post(body, [])
    one.post(clone.encode("behind it"), [])
    assert two.take() is None
    assert (two.is_shut, one.is_over, len(two.queue), two.size) == (True, True, 0, 0)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert caplog.messages[0].startswith("a message on a port does not decode: ")


@pytest.mark.contract("8.7")
async def test_whoever_sent_what_does_not_decode_is_blamed() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    log = heard(port)
    records.message(2, [], clone.encode("good"))
    records.message(2, [], b"\xff")
    records.message(2, [], clone.encode("never"))
    await until(lambda: len(log) == 2)
    assert log == ["good", "closed"]
    assert records.take() == [("close", 2, 20)]


async def test_half_a_window_that_was_taken_is_credited() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    end = port.end
    assert end is not None
    body = clone.encode(None)
    half = -(-WINDOW // 2 // cost(len(body)))
    for number in range(half + 1):
        records.message(2, [], body)
        end.take()
        assert records.take() == ([("credit", 2, half * cost(len(body)))] if number == half - 1 else [])
    assert end.owed() == cost(len(body))
    assert end.owed() == 0
    port.close()


# Its owner.


async def test_a_started_end_keeps_its_handle_and_an_unstarted_one_does_not() -> None:
    channel = MessageChannel()
    one, two = weakref.ref(channel.port1), weakref.ref(channel.port2)
    channel.port1.start()
    kept = channel.port1.end
    assert kept is not None
    del channel
    gc.collect()
    assert (one() is None, two() is None) == (False, True)
    await until(lambda: kept.finished)
    gc.collect()
    assert one() is None


async def test_nothing_is_given_to_listeners_before_start() -> None:
    records, port, _ = pair()
    log: list[object] = []
    port.on("message", lambda event: log.append(event.data))
    port.on("close", lambda: log.append("closed"))
    records.message(3, [], clone.encode("waits"))
    records.closed(3)
    await turn()
    await turn()
    assert log == []
    port.start()
    await until(lambda: len(log) == 2)
    assert log == ["waits", "closed"]


async def test_a_port_with_much_to_give_lets_others_have_their_turn() -> None:
    channel = MessageChannel()
    counts: list[int] = []
    log = heard(channel.port2)
    for number in range(300):
        channel.port1.post_message(number)
    for _ in range(4):
        await turn()
        counts.append(len(log))
    assert counts[:3] == [128, 256, 300]
    assert log == list(range(300))
    channel.port1.close()


async def test_a_listener_that_transfers_the_port_leaves_the_rest_to_its_next_owner() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    got: list[object] = []

    def take(event: object) -> None:
        got.append(event.data)  # type: ignore[attr-defined]
        if len(got) == 2:
            end = port.end
            assert end is not None
            assert end.remote is not None
            remotes.append(end.remote)
            records.leave(port)

    remotes: list[object] = []
    port.on("message", take)
    port.start()
    for number in range(5):
        records.message(2, [], clone.encode(number))
    await until(lambda: len(got) == 2)
    records.message(2, [], clone.encode(5))
    await turn()
    await turn()
    assert got == [0, 1]
    records.send_after(remotes[0])  # type: ignore[arg-type]
    assert [each[2] for each in records.take()] == [2, 3, 4, 5]


async def test_a_new_owner_has_to_start_it_again() -> None:
    one, two = ends()
    former = MessagePort(two)
    former.start()
    assert two.started
    former.release()
    assert two.moving
    one.post(clone.encode("waits"), [])
    port = MessagePort(two)
    assert (two.started, two.moving, two.pulled) == (False, False, False)
    log = heard(port)
    await until(lambda: log)
    assert log == ["waits"]
    port.close()


# Its end.


async def test_what_arrives_at_a_closed_end_is_dropped() -> None:
    one, two = ends()
    two.close()
    assert one.is_over
    two.receive(b"late", [])
    assert (len(two.queue), two.size) == (0, 0)
    assert (one.may_post, two.may_post) == (False, False)


async def test_an_end_is_finished_once_and_when_everything_was_taken() -> None:
    one, two = ends()
    one.post(clone.encode(1), [])
    assert not two.finish()
    one.close()
    assert two.is_over
    assert two.may_leave
    assert not two.finish()
    two.take()
    assert two.finish()
    assert not two.finish()
    assert not two.may_leave


async def test_that_nothing_more_is_taken_frees_the_number() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    end = port.end
    assert end is not None
    records.closed(2)
    assert (end.is_over, records.take()) == (True, [])
    assert end.finish()
    assert (end.registry, records.take(), len(records)) == (None, [("close", 2, 0)], 0)


async def test_one_that_is_dropped_forgets_what_had_come_and_closes_the_channel() -> None:
    one, two = ends()
    one.post(clone.encode(1), [])
    two.dropped()
    assert (len(two.queue), two.finished, one.is_over) == (0, True, True)
    two.dropped()


async def test_one_that_is_leaving_is_not_dropped_but_may_be_lost() -> None:
    one, two = ends()
    MessagePort(two).release()
    two.dropped()
    assert not one.is_over
    two.lost()
    assert (one.is_over, two.is_shut, two.moving) == (True, True, False)


@pytest.mark.contract("7.3")
async def test_ends_that_are_posted_to_one_of_themselves_are_lost() -> None:
    one, two = ends()
    third, fourth = ends()
    one.post(clone.encode("to itself"), [two, third])
    assert (one.is_over, two.is_shut, fourth.is_over) == (True, True, True)


# Waiting.


async def test_who_waits_is_asked_again_whenever_something_changes_and_may_be_cancelled() -> None:
    one, _ = ends()
    asked: list[int] = []

    def done() -> bool:
        asked.append(len(asked))
        return len(asked) == 3

    waiting = asyncio.ensure_future(one.wait_until(done))
    other = asyncio.ensure_future(one.wait_until(lambda: False))
    await turn()
    assert asked == [0]
    one.wake()
    await turn()
    assert asked == [0, 1]
    other.cancel()
    await asyncio.wait([other])
    one.wake()
    await within(waiting)
    assert asked == [0, 1, 2]


async def test_a_message_that_is_taken_wakes_who_has_posted_it() -> None:
    one, two = ends()
    one.post(bytes([0x41, 0]) + b"", [])
    one.post(clone.encode(bytes(WINDOW)), [])
    waiting = asyncio.ensure_future(one.wait_until(lambda: one.keeps_up))
    await turn()
    two.take()
    await turn()
    assert not waiting.done()
    two.take()
    await within(waiting)
