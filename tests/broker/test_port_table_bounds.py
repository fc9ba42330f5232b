"""What the table of ports bounds, and whom it can blame."""

import logging

import pytest
from mainbus.port_end import MAX_UNTAKEN
from mainbus.wire.credit import OVERHEAD
from mainbus.wire.packets import CONTINUES, MORE

from tests.support.port_owner import boxes, channel


@pytest.mark.parametrize("way", ["posted", "returned"])
def test_far_more_than_can_wait_closes_the_channel(way: str, caplog: pytest.LogCaptureFixture) -> None:
    _, (a, b, c) = boxes(limit=MAX_UNTAKEN)
    channel(a, b)
    most = 3 * MAX_UNTAKEN
    if way == "returned":
        b.give(c, 2)
        b.take()
    poster, number = (a, 3) if way == "posted" else (b, 2)
    for _ in range(3):
        poster.post(number, bytes(MAX_UNTAKEN - OVERHEAD))
    assert a.take() == []
    assert caplog.messages == []
    poster.post(number, b"x", flags=MORE)
    assert a.take() == [("close", 3)]
    assert (b if way == "posted" else c).take()[-1] == ("close", 2)
    assert caplog.record_tuples == [
        (
            "mainbus.broker",
            logging.WARNING,
            f"a port was closed: more than {most} bytes were posted on it and not taken",
        )
    ]


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("way", ["passed on", "waiting", "returned"])
def test_fragments_of_a_byte_are_kept_in_few_pieces(way: str) -> None:
    table, (a, b, c) = boxes(limit=1_000_000)
    channel(a, b)
    if way != "passed on":
        b.give(c, 2)
        b.take()
    poster, number, taker = (b, 2, c) if way == "returned" else (a, 3, b if way == "passed on" else c)
    count = 10_000
    for index in range(count):
        poster.post(
            number, b"%d" % (index % 10), flags=(CONTINUES if index else 0) | (MORE if index < count - 1 else 0)
        )
    if way == "waiting":
        assert taker.bodies() == []
        b.close(2)
    pieces = taker.bodies()
    assert b"".join(map(bytes, pieces)) == b"0123456789" * (count // 10)  # type: ignore[arg-type]
    assert len(pieces) <= 4
    # What they cost is what it was before.
    if way != "returned":
        table.credit(taker, 2, count + OVERHEAD + 1)
        assert a.take() == [("credit", 3, count + OVERHEAD)]


@pytest.mark.contract("7.3", "8.6")
def test_the_beginning_of_a_message_whose_rest_never_comes_is_passed_on_before_the_end() -> None:
    _, (a, b, _) = boxes()
    channel(a, b)
    a.post(3, b"one", flags=MORE)
    a.post(3, b"two", flags=CONTINUES | MORE)
    assert b.bodies() == [b"one"]
    a.close(3)
    assert b.take() == [("message", 2, b"two"), ("close", 2)]


@pytest.mark.contract("8.6")
def test_what_waits_for_an_end_on_its_way_is_held_because_of_who_posted_it() -> None:
    table, (a, b, _) = boxes(limit=1_000_000)
    channel(a, b)
    table.depart(b, [(2, 0)])
    assert table.held(a) == 0
    a.post(3, bytes(1000), (5, 7))
    a.close(5)
    # To the end that goes along there is posted, too.
    a.post(7, bytes(2000))
    assert 3000 <= table.held(a) <= 4000
    # What comes back waits as well, with what is posted on the ends that go along.
    b.post(2, bytes(4000), (1, 3))
    b.post(3, bytes(8000), (5, 7))
    b.close(1)
    b.close(5)
    table.forget(b)
    assert 15_000 <= table.held(a) <= 17_000
    table.forget(a)
    assert table.held(a) == table.held(b) == 0


def test_credit_makes_room_for_more() -> None:
    table, (a, b, _) = boxes(limit=MAX_UNTAKEN)
    channel(a, b)
    for _ in range(5):
        a.post(3, bytes(MAX_UNTAKEN))
        table.credit(b, 2, MAX_UNTAKEN + OVERHEAD)
    assert [each[0] for each in a.take()] == ["credit"] * 5
    assert len(b.take()) == 5


def test_nobody_gets_credit_for_more_than_was_taken() -> None:
    table, (a, b, _) = boxes()
    channel(a, b)
    a.post(3, b"12345")
    b.take()
    for _ in range(100):
        table.credit(b, 2, OVERHEAD)
        table.credit(b, 2, 0)
    assert a.take() == [("credit", 3, OVERHEAD), ("credit", 3, 5)]


# Who can be blamed.


def test_only_a_channel_with_one_poster_says_who_it_was() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    assert table.poster(b, 2) is None
    a.post(3, b"1")
    a.post(3, b"2")
    assert table.poster(b, 2) is a
    assert table.poster(a, 3) is None
    assert table.poster(b, 99) is None
    a.give(c, 3)
    assert table.poster(b, 2) is a
    c.post(2, b"3")
    assert table.poster(b, 2) is None


def test_who_brings_a_message_back_may_have_changed_it() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    a.post(3, b"1")
    b.give(c, 2)
    assert table.poster(c, 2) is a
    b.post(2, b"another")
    assert table.poster(c, 2) is None
