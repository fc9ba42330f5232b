"""The routes of one renderer: one per renderer, strangers, broadcasts apart, what outlives a connection."""

import asyncio

import pytest
from mainbus.outbox import Outbox
from mainbus.route_table import BROADCASTS, RouteTable
from mainbus.routes import Route
from mainbus.wire.packets import BY_NAME, HEADER, MAIN, Kind, build

from tests.support.leaving import leaving


def _table(credit: int = 8, **names: int) -> tuple[Outbox, RouteTable]:
    """Return a table that knows these names, and its outbox."""
    outbox = Outbox(asyncio.get_running_loop(), 100)
    table = RouteTable(outbox)
    table.set_credit(credit)
    for name, peer in names.items():
        table.learn(peer, name)
    return outbox, table


def _put(table: RouteTable, target: int | str, body: bytes, request: int = 0) -> None:
    peer, name = (0, target) if isinstance(target, str) else (max(target, 0), "")
    kind, flags = Kind.INVOKE if request else Kind.SEND, BY_NAME if name else 0
    packet = build(kind, peer, request, body, flags=flags, name=name.encode(), channel=b"c")
    table.to(target).put(packet, len(packet), request)


def _bodies(packets: list[bytes]) -> list[bytes]:
    return [packet[HEADER.size + packet[6] + packet[7] :] for packet in packets]


def _left(outbox: Outbox, *routes: Route | None) -> list[bytes]:
    """Return the bodies that have gone straight on, and then what each route lets go."""
    packets = outbox.take()
    for route in routes:
        assert route is not None
        packets += leaving(route)
    return _bodies(packets)


def _questions(outbox: Outbox) -> list[int]:
    """Return the ids that the broker is asked about."""
    heads = [HEADER.unpack_from(packet) for packet in outbox.take()]
    assert {head[1] for head in heads} <= {Kind.WHO}
    return [head[5] for head in heads]


def _answer(table: RouteTable, peer: int, name: str | None, *, exists: bool = True) -> list[tuple[int, Route | None]]:
    """Have the broker answer; returns the requests that it has moved, and where to."""
    table.answered(peer, name, exists=exists)
    return [(entry.request, route) for entry, route in table.leave_lobby()]


async def test_a_target_has_one_route() -> None:
    _, table = _table(five=5)
    assert table.to(5) is table.to(5)
    assert table.to("name") is not table.to(5)
    assert table.to(MAIN) is table.main
    assert table.get(6) is None


@pytest.mark.contract("2.19", "9.3")
async def test_an_id_and_its_name_have_one_route_whichever_comes_first() -> None:
    _, table = _table(five=5, six=6)
    assert table.to(5) is table.to("five")
    assert table.to("six") is table.to(6)
    assert table.to(5) is not table.to(6)


@pytest.mark.contract("2.19", "9.6")
async def test_a_name_keeps_its_route_when_it_passes_on() -> None:
    _, table = _table()
    table.learn(5, "name")
    table.learn(9, "name")
    assert table.to(5) is table.to("name") is table.to(9)


async def test_one_without_a_name_has_a_route_of_its_own() -> None:
    _, table = _table()
    table.learn(5, None)
    table.learn(6, None)
    assert len({table.to(5), table.to(6), table.to("name")}) == 3


async def test_routes_made_later_have_the_credit_too() -> None:
    _, table = _table(credit=3, five=5, six=6)
    assert table.to(5).credit == 3
    table.set_credit(4)
    assert table.to(5).credit == table.to(6).credit == table.to(BROADCASTS).credit == 4


async def test_no_more_names_are_kept_than_anybody_needs() -> None:
    _, table = _table()
    for peer in range(1, 100_000):
        table.learn(peer, "name")
    assert 0 < len(table.names) < 50_000


# An id that nobody has told the name of.


@pytest.mark.contract("2.19")
async def test_what_goes_to_a_stranger_waits_and_all_behind_it_does() -> None:
    outbox, table = _table(six=6)
    _put(table, "five", b"1")
    _put(table, 6, b"other")
    assert _left(outbox) == [b"1", b"other"]
    _put(table, 5, b"2")
    assert _questions(outbox) == [5]
    _put(table, "five", b"3")
    _put(table, 5, b"4")
    _put(table, 6, b"other")
    _put(table, MAIN, b"main")
    _put(table, BROADCASTS, b"broadcast")
    assert _left(outbox) == [b"main", b"broadcast"]
    assert not _answer(table, 7, None)
    assert [route for _, route in _answer(table, 5, "five")] == [table.get(5)] * 3 + [table.get(6)]
    assert _left(outbox, table.get("five"), table.get(6)) == [b"2", b"3", b"4", b"other"]
    _put(table, 5, b"5")
    _put(table, "five", b"6")
    assert _left(outbox) == [b"5", b"6"]
    assert outbox.held == 0


@pytest.mark.contract("9.3")
async def test_a_stranger_has_the_credit_that_its_name_has_left() -> None:
    outbox, table = _table(credit=2)
    _put(table, "five", b"1", request=1)
    _put(table, 5, b"2", request=2)
    _put(table, 5, b"3", request=3)
    assert _answer(table, 5, "five") == [(2, table.to("five")), (3, table.to("five"))]
    _put(table, "five", b"4", request=4)
    route = table.to(5)
    assert _left(outbox, route) == [b"1", b"", b"2"]
    assert route.unanswered == 2
    assert route.withdraw(3)
    route.answered()
    assert _left(outbox, route) == [b"4"]


async def test_two_strangers_are_asked_about_at_once_and_leave_in_order() -> None:
    outbox, table = _table()
    _put(table, 5, b"1")
    _put(table, 6, b"2")
    _put(table, 5, b"3")
    assert _questions(outbox) == [5, 6]
    assert not _answer(table, 6, "six")
    assert len(_answer(table, 5, None)) == 3
    assert _left(outbox, table.get(5), table.get("six")) == [b"1", b"3", b"2"]


async def test_what_was_withdrawn_in_the_lobby_is_not_sent() -> None:
    outbox, table = _table()
    _put(table, 5, b"1", request=1)
    _put(table, 5, b"2", request=2)
    assert table.to(5).withdraw(1)
    assert not table.to(5).withdraw(1)
    assert _questions(outbox) == [5]
    assert _answer(table, 5, "five") == [(2, table.to(5))]
    assert _left(outbox, table.to(5)) == [b"2"]
    assert not table.to(5).withdraw(2)


@pytest.mark.contract("2.19")
async def test_a_reply_in_the_lobby_overtakes_nothing_but_a_pause() -> None:
    outbox, table = _table()
    _put(table, 5, b"1")
    table.to("five").put(b"2", 1)
    table.to("five").reply(b"reply", 5)
    assert _questions(outbox) == [5]
    table.pause(5, "five", broadcasts=False)
    _answer(table, 5, "five")
    route = table.to(5)
    assert list(iter(route.next_packet, None)) == [b"reply"]
    route.resume()
    assert _bodies([packet for packet in leaving(route) if packet != b"2"]) == [b"1"]


@pytest.mark.contract("3.7")
async def test_what_goes_to_an_id_that_nobody_has_comes_back_and_the_next_asks_again() -> None:
    outbox, table = _table()
    _put(table, 5, b"1", request=1)
    _put(table, "name", b"2", request=2)
    _put(table, 6, b"3")
    assert _questions(outbox) == [5, 6]
    assert _answer(table, 5, None, exists=False) == [(1, None), (2, table.get("name"))]
    _put(table, 5, b"4", request=4)
    assert _left(outbox, table.get("name")) == [b"", b"2"]
    assert not _answer(table, 5, "name")
    assert _answer(table, 6, None, exists=False) == [(0, None), (4, table.to("name"))]
    assert table.to(5) is table.to("name")


async def test_somebody_is_busy_while_anything_waits_that_may_be_for_it() -> None:
    _, table = _table(six=6)
    assert not table.is_busy("five")
    _put(table, 5, b"1")
    size = table.size(5)
    assert size
    assert not table.size(6)
    assert table.is_busy("five")
    _answer(table, 5, "five")
    assert not table.is_busy(6)
    assert table.is_busy("five")
    assert table.size(5) == table.size("five") == size
    next(iter(table.to(5).next_packet, None))
    assert table.to(5).next_packet() is None
    assert not table.is_busy(5)


@pytest.mark.contract("9.6")
async def test_the_next_connection_asks_again() -> None:
    outbox, table = _table()
    _put(table, 5, b"1", request=1)
    table.to(5).reply(b"stale", 5)
    outbox.take()
    assert table.reset() == {1}
    _put(table, 6, b"2")
    assert not outbox.take()
    table.restart()
    assert not list(table.leave_lobby())
    assert _questions(outbox) == [5, 6]
    _answer(table, 5, "five")
    _answer(table, 6, None)
    assert _left(outbox, table.get(5), table.get(6)) == [b"1", b"2"]


@pytest.mark.contract("9.6")
async def test_another_broker_is_not_asked_about_the_ids_of_the_former_one() -> None:
    outbox, table = _table(six=6)
    _put(table, 6, b"gone, and the name with it")
    _put(table, 5, b"gone", request=1)
    _put(table, "name", b"kept", request=2)
    _put(table, 6, b"gone", request=3)
    outbox.take()
    table.reset()
    assert _bodies(list(table.forget_ids())) == [b"gone", b"gone"]
    table.restart()
    assert [entry.request for entry, _ in table.leave_lobby()] == [2]
    assert _left(outbox, table.get("name")) == [b"kept"]
    assert outbox.held == 0
    _put(table, 6, b"another one")
    assert _questions(outbox) == [6]


# Pauses, and what outlives a connection.


@pytest.mark.contract("9.2")
async def test_a_pause_holds_a_target_however_it_is_addressed() -> None:
    outbox, table = _table(six=6)
    table.pause(5, "five", broadcasts=False)
    _put(table, 5, b"1")
    _put(table, "five", b"2")
    _put(table, 6, b"other")
    assert _left(outbox) == [b"other"]
    table.resume(5)
    assert _left(outbox, table.to(5)) == [b"1", b"2"]


async def test_a_pause_finds_the_route_that_the_name_has_already() -> None:
    _, table = _table()
    named = table.to("five")
    table.pause(5, "five", broadcasts=False)
    assert table.to(5) is named
    assert named.paused
    table.resume(5)
    assert not named.paused


async def test_broadcasts_go_on_when_every_pause_that_held_them_is_lifted() -> None:
    _, table = _table()
    table.pause(5, None, broadcasts=True)
    table.pause(6, None, broadcasts=True)
    table.pause(7, None, broadcasts=False)
    broadcasts = table.to(BROADCASTS)
    table.resume(5)
    assert broadcasts.paused
    table.resume(6)
    assert not broadcasts.paused
    assert table.any_paused  # 7 still is


@pytest.mark.contract("9.6")
async def test_a_reset_lifts_pauses_and_tells_which_invokes_have_not_left() -> None:
    outbox, table = _table(credit=1, five=5)
    _put(table, 5, b"left", request=1)
    _put(table, 5, b"waits", request=2)
    table.pause(6, None, broadcasts=True)
    _put(table, 6, b"held", request=3)
    assert table.reset() == {2, 3}
    assert not table.any_paused
    assert _bodies(outbox.take()) == [b"left"]


@pytest.mark.contract("9.6")
async def test_another_broker_gets_nothing_that_is_addressed_to_an_id() -> None:
    _, table = _table(five=5)
    for target in (MAIN, BROADCASTS, 5, "name"):
        table.to(target).pause()
        _put(table, target, b"held", request=10 if target == 5 else 11)
    assert _bodies(list(table.forget_ids())) == [b"held"]
    assert table.get(5) is None
    assert all(table.to(target).size for target in (MAIN, BROADCASTS, "name"))


async def test_idle_routes_are_dropped_when_there_are_many_and_others_never() -> None:
    _, table = _table()
    table.pause(1, None, broadcasts=False)
    paused = table.to(1)
    for target in range(2, 5000):
        table.learn(target, None)
        table.to(target)
    assert table.to(1) is paused
    assert table.to(MAIN) is table.main
    assert table.get(2) is None
