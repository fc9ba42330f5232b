"""The way to one target: what is held, why, in which order it goes on, and what can be taken back."""

import asyncio
from collections.abc import Iterator

import pytest
from mainbus.cores import ROOM
from mainbus.outbox import Outbox
from mainbus.routes import Entry, Route
from mainbus.wire.packets import BY_NAME, Kind, build

from tests.support.leaving import leaving


class Way:
    """A route with credit for two invokes, and what has left through its outbox."""

    def __init__(self, credit: int = 2) -> None:
        self.outbox = Outbox(asyncio.get_running_loop(), 100)
        self.route = Route(self.outbox, credit)

    def put(self, *packets: bytes, request: int = 0) -> None:
        packet = packets[0] if len(packets) == 1 else iter(packets)
        self.route.put(packet, sum(map(len, packets)), request)

    def left(self) -> list[bytes]:
        """What went straight to the outbox, and then all that the route lets go."""
        return [*self.outbox.take(), *leaving(self.route)]


async def test_what_nothing_holds_up_goes_straight_on() -> None:
    way = Way()
    way.put(b"send")
    way.put(b"invoke", request=1)
    assert way.outbox.take() == [b"send", b"invoke"]
    assert (way.route.unanswered, way.route.size, way.outbox.held) == (1, 0, 0)


@pytest.mark.contract("9.2")
async def test_while_paused_everything_waits_in_order() -> None:
    way = Way()
    way.route.pause()
    way.put(b"1")
    way.put(b"2", request=1)
    way.put(b"3a", b"3b")
    way.put(b"4")
    assert not way.left()
    assert way.route.size == way.outbox.held == 7
    way.route.resume()
    assert way.left() == [b"1", b"2", b"3a", b"3b", b"4"]
    assert way.route.size == way.outbox.held == 0


@pytest.mark.contract("9.3")
async def test_an_invoke_without_credit_waits_and_so_does_what_comes_after_it() -> None:
    way = Way(credit=1)
    way.put(b"1", request=1)
    way.put(b"2", request=2)
    way.put(b"3")
    assert way.left() == [b"1"]
    way.route.answered()
    assert way.left() == [b"2", b"3"]
    way.put(b"4", request=3)
    way.route.set_credit(2)
    assert way.left() == [b"4"]


@pytest.mark.contract("2.19")
async def test_what_comes_after_a_large_message_waits_for_its_last_packet() -> None:
    way = Way()
    way.put(b"1a", b"1b")
    way.put(b"2")
    assert way.route.next_packet() == b"1a"
    way.put(b"3")
    assert way.left() == [b"1b", b"2", b"3"]


async def test_a_large_message_stops_between_its_packets_when_paused() -> None:
    way = Way()
    way.put(b"1a", b"1b")
    assert way.route.next_packet() == b"1a"
    way.route.pause()
    assert way.route.next_packet() is None
    way.route.resume()
    assert way.left() == [b"1b"]


@pytest.mark.contract("2.19")
async def test_what_is_held_waits_in_its_place_until_it_is_let_go() -> None:
    way = Way()
    way.put(b"1")
    held = way.route.hold(iter((b"2a", b"2b")), 4)
    way.put(b"3")
    way.route.reply(b"reply", 5)
    assert way.left() == [b"1", b"reply"]
    # It is no pause, and none ends it.
    way.route.resume()
    assert not way.left()
    assert way.route.reset() == set()
    way.route.let_go(held)
    assert way.left() == [b"2a", b"2b", b"3"]
    assert way.route.size == way.outbox.held == 0


async def test_what_has_waited_elsewhere_takes_its_turn() -> None:
    way = Way(credit=1)
    way.put(b"1", request=1)
    for entry in (Entry(b"2", 1, 2, cost=1), Entry(b"3", 1, 0)):
        way.route.adopt(entry)
    urgent = Entry(b"urgent", 6, 0)
    urgent.is_reply = True
    way.route.adopt(urgent)
    way.put(b"4")
    assert way.left() == [b"1", b"urgent"]
    way.route.answered()
    assert way.left() == [b"2", b"3", b"4"]
    way.route.adopt(Entry(b"5", 1, 3))
    assert way.route.withdraw(3)
    assert way.route.size == way.outbox.held == 0


async def test_a_look_at_the_first_packet_takes_nothing() -> None:
    entry = Entry(iter((b"1", b"2")), 2, 0)
    assert entry.first() == entry.first() == b"1"
    assert list(entry.packets) == [b"1", b"2"]
    assert entry.first() is None


@pytest.mark.contract("9.2")
async def test_a_connection_with_enough_to_write_is_given_no_more() -> None:
    way = Way()
    way.put(bytes(ROOM))
    way.put(b"held")
    assert way.route.size == 4
    assert len(way.outbox.take()) == 1


@pytest.mark.contract("9.2")
async def test_a_reply_overtakes_what_is_held_by_a_pause_and_nothing_else() -> None:
    way = Way()
    way.put(b"1a", b"1b")
    way.route.reply(b"reply in its place", 18)
    assert way.left() == [b"1a", b"1b", b"reply in its place"]
    way.route.pause()
    way.put(b"held")
    way.route.reply(b"urgent", 6)
    assert way.left() == [b"urgent"]


@pytest.mark.contract("9.2", "9.3")
async def test_a_reply_overtakes_what_waits_for_credit() -> None:
    way = Way(credit=1)
    way.put(b"1", request=1)
    way.put(b"2", request=2)
    way.put(b"3")
    way.route.reply(b"urgent", 6)
    way.route.reply(iter((b"large a", b"large b")), 14)
    assert way.left() == [b"1", b"urgent", b"large a", b"large b"]
    assert way.route.size == way.outbox.held == 2
    way.route.answered()
    assert way.left() == [b"2", b"3"]
    assert way.route.size == way.outbox.held == 0


@pytest.mark.contract("9.2")
async def test_a_reply_that_has_begun_to_overtake_goes_on_in_its_own_fragments() -> None:
    way = Way()
    way.route.pause()
    way.put(b"held")
    way.route.reply(iter((b"1a", b"1b")), 4)
    way.route.reply(b"2", 1)
    assert way.route.next_packet() == b"1a"
    way.route.resume()
    assert way.left() == [b"held", b"1b", b"2"]


@pytest.mark.contract("9.6")
async def test_replies_do_not_outlive_their_connection() -> None:
    way = Way()
    way.route.pause()
    way.put(b"1")
    way.route.reply(b"stale", 5)
    way.put(b"2")
    way.route.reply(iter((b"stale a", b"stale b")), 14)
    way.route.reset()
    assert way.left() == [b"1", b"2"]
    assert way.route.size == way.outbox.held == 0
    # A reply of the next connection is on its own.
    way.route.pause()
    way.put(b"3")
    way.route.reply(b"fresh", 5)
    assert way.left() == [b"fresh"]


@pytest.mark.contract("9.2", "9.3")
async def test_a_reply_that_was_taken_and_given_back_still_overtakes() -> None:
    way = Way()
    way.route.pause()
    way.put(b"1")
    way.route.reply(b"urgent", 6)
    entries = way.route.take()
    assert len(entries) == 2
    way.route.give_back(entries)
    assert way.left() == [b"urgent"]
    way.route.resume()
    assert way.left() == [b"1"]


async def test_replies_keep_their_order_when_one_of_them_is_large() -> None:
    way = Way()
    way.route.pause()
    way.route.reply(iter((b"1a", b"1b")), 4)
    way.route.resume()
    way.route.reply(b"2", 1)
    assert not way.outbox.take()
    assert way.left() == [b"1a", b"1b", b"2"]


@pytest.mark.contract("9.3")
async def test_an_invoke_that_has_not_left_can_be_withdrawn_and_costs_nothing() -> None:
    way = Way(credit=1)
    way.put(b"1", request=1)
    way.put(b"2", request=2)
    way.put(b"3", request=3)
    assert way.route.withdraw(2)
    # Its bytes are free at once, however long the rest waits.
    assert way.route.size == way.outbox.held == 1
    assert not way.route.withdraw(2)
    assert not way.route.withdraw(1)
    way.route.answered()
    assert way.left() == [b"1", b"3"]
    assert way.route.unanswered == 1


@pytest.mark.contract("5.7")
async def test_the_cancel_of_a_large_invoke_that_is_leaving_follows_it() -> None:
    way = Way()
    way.put(b"1a", b"1b", request=1)
    way.put(b"2")
    assert not way.route.put_behind(1, b"cancel 1")
    assert way.route.next_packet() == b"1a"
    assert not way.route.withdraw(1)
    assert not way.route.put_behind(9, b"cancel 9")
    assert way.route.put_behind(1, b"cancel 1")
    assert way.left() == [b"1b", b"cancel 1", b"2"]


@pytest.mark.contract("9.6")
async def test_reset_drops_what_has_left_in_part_and_keeps_the_rest() -> None:
    way = Way(credit=5)
    way.put(b"1a", b"1b", request=1)
    way.put(b"2", request=2)
    way.put(b"3")
    assert way.route.next_packet() == b"1a"
    way.route.pause()
    assert way.route.reset() == {2}
    assert not way.route.paused
    assert way.left() == [b"2", b"3"]


@pytest.mark.contract("9.6")
async def test_forgetting_ids_keeps_what_is_addressed_by_name() -> None:
    way = Way()
    by_id, by_name = build(Kind.SEND, 5, channel=b"x"), build(Kind.SEND, channel=b"x", name=b"five", flags=BY_NAME)
    way.route.pause()
    way.put(by_id, request=1)
    way.put(by_name, request=2)
    way.put(by_id)
    way.put(by_name, b"its second fragment")
    way.put(by_id, request=3)
    way.route.withdraw(3)
    assert way.route.forget_ids() == [by_id, by_id]
    assert way.route.size == way.outbox.held == 2 * len(by_name) + len(b"its second fragment")
    way.route.resume()
    assert way.left() == [by_name, by_name, b"its second fragment"]
    assert way.route.reset() == set()


async def test_idle_is_when_nothing_waits_and_nothing_is_owed() -> None:
    way = Way()
    assert way.route.idle
    way.put(b"1", request=1)
    assert not way.route.idle
    way.route.answered()
    assert way.route.idle
    way.route.pause()
    assert not way.route.idle


async def test_what_is_taken_leaves_another_way_and_can_be_given_back_in_front() -> None:
    way = Way(credit=1)
    way.route.pause()
    way.put(b"1")
    way.put(b"2", request=1)
    way.put(b"gone", request=2)
    way.put(b"3", request=3)
    assert way.route.withdraw(2)
    entries = way.route.take()
    assert way.route.size == 0
    assert way.route.unanswered == 2

    def again(packet: bytes) -> Iterator[bytes]:
        yield packet

    for entry, packet in zip(entries, (b"1", b"2", b"3"), strict=True):
        assert list(entry.packets) == [packet]
        entry.packets = again(packet)
    way.put(b"4")
    way.route.give_back(entries[1:])
    assert way.route.unanswered == 0
    assert not way.route.withdraw(1)
    way.route.resume()
    assert way.left() == [b"2"]
    way.route.answered()
    assert way.left() == [b"3", b"4"]
