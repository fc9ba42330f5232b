"""Where ends are: whoever has one gets what was posted for it, in order, and hears when there will be no more."""

import pytest
from mainbus.wire.credit import OVERHEAD
from mainbus.wire.packets import CONTINUES, MORE
from mainbus_broker.port_end import PortEnd
from mainbus_broker.port_table import PortTable

from tests.support.port_owner import LIMIT, Box, boxes, channel

# Where ends go.


def test_a_new_channel_has_its_other_end_where_it_was() -> None:
    table, (a, b, _) = boxes()
    (end,) = table.depart(a, [(1, 3)])
    assert a.take() == [("moved", 1)]
    assert (end.owner, sorted(a.ports)) == (None, [1, 3])
    a.post(3, b"before it is anybody's")
    (entry,) = table.assign([end], b)
    a.post(3, b"before it is known")
    assert (entry, b.take()) == ((2, 0), [])
    # Behind what comes back, and that is not done yet.
    table.arrived(b, [2])
    assert b.take() == []
    a.post(1, b"returned")
    assert b.bodies() == [b"returned"]
    a.close(1)
    assert b.bodies() == [b"before it is anybody's", b"before it is known"]
    a.post(3, b"to there")
    b.post(2, b"and back")
    assert b.take() == [("message", 2, b"to there")]
    assert a.take() == [("message", 3, b"and back")]


def test_its_entry_says_what_was_posted_from_it_and_not_taken() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    b.post(2, b"12345")
    b.post(2, b"1", flags=MORE)
    b.post(2, b"2", flags=CONTINUES)
    a.take()
    table.credit(a, 3, 5)
    assert b.take() == [("credit", 2, 5)]
    assert b.give(c, 2) == (2, 2 * OVERHEAD + 2)


def test_a_message_that_has_passed_by_several_owners_stays_in_front() -> None:
    _, (a, b, c, d) = boxes(4)
    channel(a, b)
    a.post(3, b"1")
    a.post(3, b"2")
    assert b.bodies() == [b"1", b"2"]
    b.give(c, 2)
    a.post(3, b"4")
    b.post(2, b"1")
    assert c.bodies() == [b"1"]
    # It moves on before the owner before has sent all after it.
    c.give(d, 2)
    b.post(2, b"2")
    assert (c.take(), d.take()) == ([("moved", 2)], [])
    c.post(2, b"1")
    assert d.bodies() == [b"1"]
    c.close(2)
    assert d.bodies() == [b"2"]
    b.post(2, b"3")
    assert d.bodies() == [b"3"]
    b.close(2)
    assert d.bodies() == [b"4"]
    assert (c.ports, [*b.ports]) == ({}, [])


def test_an_end_that_comes_back_has_another_number() -> None:
    _, (a, b, _) = boxes()
    channel(a, b)
    assert b.give(a, 2) == (2, 0)
    b.close(2)
    a.post(3, b"to itself")
    a.post(2, b"and back")
    assert a.take() == [("message", 2, b"to itself"), ("message", 3, b"and back")]
    a.close(2)
    assert a.take() == [("close", 3)]
    a.close(3)
    assert (a.ports, b.ports) == ({}, {})


def test_what_is_no_port_any_more_arrives_closed() -> None:
    _, (a, b, _) = boxes()
    channel(a, b)
    # It was closed; it leaves a second time; its partner has a number already.
    for number, partner in ((9, 0), (1, 0), (5, 3), (2, 0)):
        entry = a.give(b, number, partner)
        assert b.take() == [("close", entry[0])]
        b.close(entry[0])
    assert a.take() == []
    assert (sorted(a.ports), sorted(b.ports)) == ([3], [2])


def test_an_owner_with_too_many_gets_a_closed_one_and_the_other_end_is_told() -> None:
    table = PortTable(LIMIT)
    a, b = Box(table), Box(table, max_ports=1)
    assert a.give(b, 1, 3) == (2, 0)
    assert a.give(b, 5, 7) == (0, 0)
    assert a.take() == [("moved", 1), ("moved", 5), ("close", 7)]
    for number in (5, 7):
        a.close(number)
    assert (sorted(a.ports), sorted(b.ports)) == ([1, 3], [2])


# Credit.


def test_credit_goes_to_whoever_posts() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    a.post(3, b"taken")
    b.take()
    table.credit(b, 2, 100)
    assert a.take() == [("credit", 3, 100)]
    # Between two owners it is counted, and kept while the next one does not know the number.
    for _ in range(3):
        a.post(3, b"")
    (end,) = table.depart(a, [(3, 0)])
    table.credit(b, 2, OVERHEAD)
    table.credit(b, 99, 1)
    table.credit(a, 3, 1)
    assert table.assign([end], c) == [(2, 3 * OVERHEAD + len(b"taken") - 100)]
    table.credit(b, 2, 7)
    table.credit(b, 2, 8)
    assert c.take() == []
    table.arrived(c, [2])
    assert c.take() == [("credit", 2, 15)]
    table.arrived(c, [2])
    assert c.take() == []


# Closing.


def test_closing_tells_the_other_end_behind_what_was_posted() -> None:
    table, (a, b, _) = boxes()
    (end,) = table.depart(a, [(1, 3)])
    table.assign([end], b)
    a.post(3, b"last")
    a.close(3)
    a.close(3)
    table.arrived(b, [2])
    a.post(1, b"returned")
    assert b.bodies() == [b"returned"]
    a.close(1)
    assert b.take() == [("message", 2, b"last"), ("close", 2)]
    table.arrived(b, [2])
    assert b.take() == []
    b.post(2, b"to nobody")
    b.close(2)
    assert (a.take(), b.take()) == ([("moved", 1)], [])
    assert (a.ports, b.ports) == ({}, {})


def test_who_is_gone_closes_all_it_had_behind_what_it_had_posted() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    a.give(c, 5, 7)
    (nobodys,) = table.depart(a, [(9, 11)])
    a.post(3, b"last")
    table.forget(a)
    assert a.ports == {}
    assert b.take() == [("message", 2, b"last"), ("close", 2)]
    assert c.take() == [("close", 2)]
    assert table.assign([nobodys], c) == [(4, 0)]
    table.arrived(c, [4])
    assert c.take() == [("close", 4)]


def test_who_is_gone_closes_what_comes_back_to_it() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    # `b` has to give back a message with a port in it, to `a`, which has gone.
    c.give(b, 1, 3)
    c.close(1)
    b.take()
    ends = table.depart(b, [(2, 0)])
    table.assign(ends, a)
    b.post(2, b"with a port", (4, 0))
    table.forget(a)
    assert a.ports == {}
    b.close(2)
    b.close(4)
    assert c.take() == [("moved", 1), ("close", 3)]
    assert b.ports == {}


def test_who_is_gone_gets_nothing_more_and_what_it_would_have_got_is_closed() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    b.give(a, 2)
    a.give(a, 2)
    b.close(2)
    # It waits for what comes back from `a` to `a`.
    a.post(3, b"for the end at home", (5, 7))
    c.give(a, 1, 3)
    c.close(1)
    a.post(3, b"with a port", (6, 0))
    table.forget(a)
    assert a.ports == {}
    assert c.take() == [("moved", 1), ("close", 3)]


def test_ports_that_come_back_after_an_end_that_nobody_got_are_closed() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    c.give(b, 1, 3)
    c.close(1)
    table.drop(*table.depart(b, [(2, 0)]))
    b.post(2, b"with a port", (4, 0))
    b.close(4)
    b.close(2)
    assert a.take() == [("close", 3)]
    assert c.take() == [("moved", 1), ("close", 3)]
    assert b.ports == {}


def nested(table: PortTable, a: Box, depth: int) -> list[PortEnd]:
    """Return the end of a channel on which an end was posted on which an end was posted, and so on."""
    outermost = table.depart(a, [(1, 3)])
    for number in range(3, 4 * depth, 4):
        a.post(number, b"%d" % number, (number + 2, number + 4))
    for number in range(1, 4 * depth + 4, 4):
        a.close(number)
    a.take()
    return outermost


def test_ports_in_what_nobody_gets_are_closed_however_deep() -> None:
    table, (a, _, _) = boxes()
    ends = nested(table, a, 5000)
    table.drop(*ends)
    others = range(3, 4 * 5000 + 4, 4)
    assert a.take() == [("close", number) for number in others]
    for number in others:
        a.close(number)
    assert a.ports == {}


def test_nested_ports_arrive_however_deep() -> None:
    table, (a, b, _) = boxes()
    ((number, _),) = table.assign(nested(table, a, 3000), b)
    table.arrived(b, [number])
    assert b.bodies() == [b"%d" % number for number in range(3, 4 * 3000, 4)]
    assert len(b.ports) == 3001


def test_a_port_cannot_go_to_itself() -> None:
    _, (a, b, _) = boxes()
    channel(a, b)
    b.give(a, 2)
    b.close(2)
    a.post(3, b"with its own other end", (2, 0))
    a.close(2)
    assert a.take() == [("moved", 2), ("close", 3)]
    a.close(3)
    assert a.ports == {}


def test_ports_for_a_channel_that_is_closed_are_closed() -> None:
    _, (a, b, c) = boxes()
    channel(a, b)
    c.give(a, 1, 3)
    c.close(1)
    b.close(2)
    a.take()
    a.post(3, b"to nobody", (2, 0))
    assert a.take() == [("moved", 2)]
    assert c.take() == [("moved", 1), ("close", 3)]


# Parts of messages.


def test_parts_arrive_as_they_come_and_their_ports_with_the_last() -> None:
    table, (a, b, _) = boxes()
    channel(a, b)
    a.post(3, b"one", (5, 7), flags=MORE)
    a.post(7, b"for it")
    assert b.take() == [("message", 2, b"one", (4, 0))]
    a.close(5)
    assert b.take() == []
    a.post(3, b"two", flags=CONTINUES)
    assert b.take() == [("message", 2, b"two"), ("message", 4, b"for it")]
    assert table.poster(b, 2) is a


@pytest.mark.parametrize(
    "parts",
    [
        [(CONTINUES, b"without its first")],
        [(0, b"whole"), (CONTINUES | MORE, b"without its first")],
        [(MORE, b"one"), (0, b"inside")],
        [(MORE, b"one"), (MORE, b"inside")],
        [(MORE, b"one"), (CONTINUES, bytes(LIMIT - 2))],
        [(0, bytes(LIMIT)), (0, bytes(LIMIT + 1))],
    ],
)
def test_parts_that_do_not_fit_end_their_channel(parts: list[tuple[int, bytes]]) -> None:
    _, (a, b, c) = boxes()
    channel(a, b)
    c.give(a, 1, 3)
    c.close(1)
    *good, (flags, body) = parts
    for each in good:
        a.post(3, each[1], flags=each[0])
    assert b.bodies() == [each[1] for each in good]
    a.take()
    # With it goes what it carries.
    a.post(3, body, (2, 0), flags=flags)
    assert b.take() == [("close", 2)]
    assert a.take() == [("moved", 2), ("close", 3)]
    assert c.take() == [("moved", 1), ("close", 3)]
    # Both confirm it, as any other close; or let it leave before they have read of it.
    a.close(3)
    b.give(c, 2)
    b.post(2, b"returned to nobody")
    b.close(2)
    assert b.take() == [("moved", 2)]
    assert c.take() == [("close", 2)]
    assert b.ports == {}
    assert set(a.ports) == {2}


def test_parts_may_be_as_long_as_a_message_together() -> None:
    _, (a, b, _) = boxes()
    channel(a, b)
    a.post(3, b"123", flags=MORE)
    a.post(3, bytes(LIMIT - 3), flags=CONTINUES)
    assert b.bodies() == [b"123", bytes(LIMIT - 3)]


def test_who_closes_inside_a_message_is_told_that_no_more_comes() -> None:
    _, (a, b, _) = boxes()
    channel(a, b)
    a.post(3, b"one", (5, 7), flags=MORE)
    assert b.bodies() == [b"one"]
    b.close(2)
    assert b.take() == [("close", 2)]
    # What was to arrive with it does not, and its other end is told.
    assert a.take() == [("moved", 5), ("close", 3), ("close", 7)]
    assert b.ports == {}


def test_the_next_owner_gets_a_message_from_its_beginning() -> None:
    _, (a, b, c) = boxes()
    channel(a, b)
    a.post(3, b"one", flags=MORE)
    b.take()
    b.give(c, 2)
    a.post(3, b"two", flags=CONTINUES)
    b.post(2, b"one", flags=MORE)
    # It is not known before the end whether its owner lives to return more of it.
    assert c.bodies() == []
    b.close(2)
    assert c.bodies() == [b"one", b"two"]


@pytest.mark.contract("9.1", "9.5")
@pytest.mark.parametrize("returned", [0, 1, 2])
def test_who_dies_while_it_returns_ends_no_channel_of_others(returned: int) -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    a.post(3, b"whole")
    a.post(3, b"in ", flags=MORE)
    a.post(3, b"two", flags=CONTINUES)
    a.post(3, b"begun", flags=MORE)
    b.take()
    b.give(c, 2)
    a.post(3, b"rest", flags=CONTINUES | MORE)
    a.post(3, b"rest", flags=CONTINUES)
    a.post(3, b"next")
    for body, flags in [(b"whole", 0), (b"in ", MORE)][:returned]:
        b.post(2, body, flags=flags)
    table.forget(b)
    assert c.bodies() == [*[b"whole"][:returned], b"next"]
    # What is lost is charged to nobody any more: of a's window only what c has is used.
    credits = [int(str(told[2])) for told in a.take() if told[0] == "credit"]
    sent = 3 * OVERHEAD + len(b"wholein twobegunrestrest")
    assert sum(credits) == sent - (OVERHEAD + len(b"whole") if returned else 0)


@pytest.mark.contract("7.3", "9.5")
def test_what_travelled_with_a_message_that_was_not_returned_whole_is_closed() -> None:
    table, (a, b, c) = boxes()
    channel(a, b)
    a.post(3, b"with a port", (5, 7))
    a.close(5)
    b.take()
    b.give(c, 2)
    b.post(2, b"with", (4, 0), flags=MORE)
    a.take()
    table.forget(b)
    assert ("close", 7) in a.take()
    assert c.bodies() == []


@pytest.mark.contract("7.2")
def test_a_message_is_posted_before_what_its_ports_bring_back() -> None:
    table, (a, b, _) = boxes()
    channel(a, b)

    class Prompt(Box):
        """One that returns at once, as the main process does."""

        def put_port_moved(self, number: int) -> None:
            table.work(lambda: self.answer(number))

        def answer(self, number: int) -> None:
            if number == 1:
                # With the port comes that on which it was posted.
                self.post(number, b"inner", (5, 0))
            self.close(number)

    prompt = Prompt(table)
    prompt.give(b, 7, 5)
    b.take()
    prompt.post(5, b"outer", (1, 3))
    assert b.take() == [("message", 4, b"outer", (6, 0)), ("message", 6, b"inner", (8, OVERHEAD + 5))]
