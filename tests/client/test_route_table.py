"""The routes of one renderer: one per target, aliases while paused, broadcasts apart, what outlives a connection."""

import asyncio

import pytest
from mainbus.outbox import Outbox
from mainbus.route_table import BROADCASTS, RouteTable
from mainbus.wire.packets import HEADER, MAIN, Kind, build


def _table(credit: int = 8) -> tuple[Outbox, RouteTable]:
    outbox = Outbox(asyncio.get_running_loop(), 100)
    table = RouteTable(outbox)
    table.set_credit(credit)
    return outbox, table


def _put(table: RouteTable, target: int | str, body: bytes, request: int = 0) -> None:
    packet = build(Kind.INVOKE if request else Kind.SEND, MAIN, request, body, channel=b"c")
    table.to(target).put(packet, len(packet), request)


def _bodies(packets: list[bytes]) -> list[bytes]:
    return [packet[HEADER.size + 1 :] for packet in packets]


async def test_a_target_has_one_route() -> None:
    _, table = _table()
    assert table.to(5) is table.to(5)
    assert table.to("name") is not table.to(5)
    assert table.to(MAIN) is table.main
    assert table.get(6) is None


async def test_routes_made_later_have_the_credit_too() -> None:
    _, table = _table(credit=3)
    assert table.to(5).credit == 3
    table.set_credit(4)
    assert table.to(5).credit == table.to(6).credit == 4


@pytest.mark.contract("9.2")
async def test_a_pause_holds_a_target_however_it_is_addressed() -> None:
    outbox, table = _table()
    table.pause(5, "five", broadcasts=False)
    _put(table, 5, b"1")
    _put(table, "five", b"2")
    _put(table, 6, b"other")
    assert _bodies(outbox.take()) == [b"other"]
    table.resume(5, "five")
    route = table.to(5)
    assert _bodies(list(iter(route.next_packet, None))) == [b"1", b"2"]


async def test_a_pause_finds_the_route_that_the_name_has_already() -> None:
    _, table = _table()
    named = table.to("five")
    table.pause(5, "five", broadcasts=False)
    assert table.to(5) is named
    assert named.paused
    table.resume(5, "five")
    assert not named.paused


async def test_broadcasts_go_on_when_every_pause_that_held_them_is_lifted() -> None:
    _, table = _table()
    table.pause(5, None, broadcasts=True)
    table.pause(6, None, broadcasts=True)
    table.pause(7, None, broadcasts=False)
    broadcasts = table.to(BROADCASTS)
    table.resume(5, None)
    assert broadcasts.paused
    table.resume(6, None)
    assert not broadcasts.paused
    assert table.any_paused  # 7 still is


@pytest.mark.contract("9.6")
async def test_a_reset_lifts_pauses_and_tells_which_invokes_have_not_left() -> None:
    outbox, table = _table(credit=1)
    _put(table, 5, b"left", request=1)
    _put(table, 5, b"waits", request=2)
    table.pause(6, None, broadcasts=True)
    _put(table, 6, b"held", request=3)
    assert table.reset() == {2, 3}
    assert not table.any_paused
    assert _bodies(outbox.take()) == [b"left"]


@pytest.mark.contract("9.6")
async def test_another_broker_gets_nothing_that_is_addressed_to_an_id() -> None:
    _, table = _table()
    for target in (MAIN, BROADCASTS, 5, "name"):
        table.to(target).pause()
        _put(table, target, b"held", request=10 if target == 5 else 11)
    assert _bodies(list(table.forget_ids())) == [b"held"]
    assert not table.to(5).size
    assert all(table.to(target).size for target in (MAIN, BROADCASTS, "name"))


async def test_idle_routes_are_dropped_when_there_are_many_and_others_never() -> None:
    _, table = _table()
    table.pause(1, None, broadcasts=False)
    paused = table.to(1)
    for target in range(2, 5000):
        table.to(target)
    assert table.to(1) is paused
    assert table.to(MAIN) is table.main
    assert table.get(2) is None
