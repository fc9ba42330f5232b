"""One end of a channel: what goes to its owner, in which order, and what is counted on the way."""

import pytest
from mainbus.wire.packets import CONTINUES, MORE
from mainbus_broker.port_end import PortEnd, Posted, Return
from mainbus_broker.port_table import PortTable

from tests.support.port_owner import Box

LIMIT = 100


def owner() -> Box:
    return Box(PortTable(LIMIT))


def posted(body: bytes, *ends: PortEnd, flags: int = 0) -> Posted:
    return flags, list(ends), body


def bodies(end: PortEnd) -> list[bytes]:
    """Take all that may go to the owner now."""
    return [each[2] for each in iter(end.next_posted, None)]


def test_a_new_one_belongs_to_nobody_and_is_over() -> None:
    end = PortEnd()
    assert (end.owner, end.other, end.is_known, end.is_over) == (None, None, False, True)
    end.told = True
    assert not end.is_over


def test_the_partner_of_a_new_channel_has_its_number_from_the_first() -> None:
    a = owner()
    end = PortEnd.pair(a, 3)
    other = end.other
    assert other is not None
    assert (other.other, other.owner, other.number, other.is_known) == (end, a, 3, True)
    assert a.ports == {3: other}
    assert (end.owner, end.is_known, end.is_over, other.is_over) == (None, False, False, False)


def test_an_owner_gives_the_number_and_learns_what_is_used() -> None:
    a, b = owner(), owner()
    end = PortEnd.pair(a, 3)
    end.used = 7
    assert end.assign(b) == (2, 7)
    assert (end.owner, end.number, b.ports) == (b, 2, {2: end})
    # That it knows the number is said later.
    assert not end.is_known


def test_one_that_leaves_belongs_to_nobody_and_forgets_what_its_owner_had() -> None:
    a, b = owner(), owner()
    end = PortEnd.pair(a, 3)
    end.assign(b)
    end.is_known = end.told = True
    end.arriving = [4]
    assert end.fits(posted(b"one", flags=MORE), LIMIT)
    back = Return(end)
    end.leave(back, b, 2)
    assert b.ports == {2: back}
    assert (end.owner, end.route, end.is_known, end.told) == (None, None, False, False)
    assert (end.arriving, end.is_unfinished) == ([], False)


def test_what_comes_back_goes_in_front_the_latest_owner_first() -> None:
    a, b = owner(), owner()
    end = PortEnd.pair(a, 3)
    end.posted.append(posted(b"waits"))
    first, second = Return(end), Return(end)
    end.leave(first, a, 1)
    assert bodies(end) == []
    end.leave(second, b, 2)
    first.posted.append(posted(b"of the first"))
    assert bodies(end) == []
    second.posted.append(posted(b"of the second"))
    assert bodies(end) == [b"of the second"]
    second.is_done = True
    assert bodies(end) == [b"of the first"]
    first.posted.append(posted(b"and one more"))
    first.is_done = True
    assert bodies(end) == [b"and one more", b"waits"]
    assert bodies(end) == []


def test_it_is_over_when_the_other_end_is_gone_and_everything_has_come() -> None:
    a = owner()
    end = PortEnd.pair(a, 3)
    back = Return(end)
    end.leave(back, a, 1)
    end.posted.append(posted(b"last"))
    end.other = None
    assert not end.is_over
    back.is_done = True
    assert not end.is_over
    assert bodies(end) == [b"last"]
    assert end.is_over


def test_it_is_not_over_while_something_waits_or_may_come_back() -> None:
    waiting, returning = PortEnd(), PortEnd()
    waiting.posted.append(posted(b"waits"))
    assert not waiting.is_over
    back = Return(returning)
    returning.leave(back, owner(), 1)
    assert not returning.is_over
    back.is_done = True
    assert bodies(returning) == []
    assert returning.is_over


# Parts of messages.


@pytest.mark.parametrize("flags", [0, MORE, CONTINUES, CONTINUES | MORE])
@pytest.mark.parametrize("is_inside", [False, True])
def test_a_part_continues_a_message_and_a_message_begins_outside(flags: int, is_inside: bool) -> None:
    end = PortEnd()
    if is_inside:
        assert end.fits(posted(b"one", flags=MORE), LIMIT)
    assert end.is_unfinished == is_inside
    fits = bool(flags & CONTINUES) == is_inside
    assert end.fits(posted(b"two", flags=flags), LIMIT) == fits
    if fits:
        assert end.is_unfinished == bool(flags & MORE)


def test_the_parts_of_a_message_fit_up_to_the_limit() -> None:
    end = PortEnd()
    assert end.fits(posted(bytes(60), flags=MORE), LIMIT)
    assert end.fits(posted(bytes(39), flags=CONTINUES | MORE), LIMIT)
    assert end.fits(posted(bytes(1), flags=CONTINUES | MORE), LIMIT)
    assert not end.fits(posted(bytes(1), flags=CONTINUES), LIMIT)


# Credit.


def test_credit_goes_to_the_owner_when_it_knows_the_number() -> None:
    a, b = owner(), owner()
    end = PortEnd.pair(a, 3)
    end.used = 100
    end.credited(10)
    assert end.assign(b) == (2, 90)
    end.credited(20)
    end.credited(30)
    assert (end.used, b.take()) == (40, [])
    end.is_known = True
    end.flush_credit()
    end.flush_credit()
    assert b.take() == [("credit", 2, 50)]
    end.credited(5)
    assert b.take() == [("credit", 2, 5)]


def test_nobody_is_credited_with_more_than_was_posted() -> None:
    end = PortEnd()
    end.used = 10
    end.credited(11)
    assert end.used == 0


def test_credit_that_waits_for_an_owner_is_no_other_ones() -> None:
    a, b = owner(), owner()
    end = PortEnd.pair(a, 3)
    end.flush_credit()
    end.assign(b)
    end.flush_credit()
    assert b.take() == []


# Who has posted, and what is dropped.


def test_the_poster_is_known_while_there_was_but_one() -> None:
    a, b, c = owner(), owner(), owner()
    end = PortEnd()
    assert end.poster is None
    end.posts(a)
    end.posts(a)
    assert end.poster is a
    end.posts(b)
    assert end.poster is None
    end.posts(c)
    assert end.poster is None


def test_one_that_is_dropped_says_which_ends_went_with_what_waited() -> None:
    a = owner()
    end, one, two, three = PortEnd(), PortEnd(), PortEnd(), PortEnd()
    back = Return(end)
    end.leave(back, a, 1)
    end.posted.append(posted(b"", one))
    end.posted.append(posted(b"", two))
    back.posted.append(posted(b"", three))
    assert list(end.forget()) == [one, two, three]
    assert end.is_dead
    assert list(end.forget()) == []
    assert not end.posted
    assert not back.posted
