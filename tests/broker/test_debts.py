"""Debts: who keeps others waiting waits the longer, by process, and never for long."""

import asyncio

from mainbus_broker import debts
from mainbus_broker.debts import FAULT, FREE, MOST, Debts, for_ports
from mainbus_broker.listeners import Process

PROCESS, OTHER = Process(1, 0, 0), Process(2, 0, 0)


async def test_a_little_is_free_and_more_is_waited_for_by_that_process_alone() -> None:
    owed = Debts(asyncio.get_running_loop())
    assert not owed.charge(PROCESS, FREE / 2)
    assert owed.wait(PROCESS) == 0
    assert owed.charge(PROCESS, FREE / 2 + MOST / 2)
    assert 0 < owed.wait(PROCESS) <= MOST / 2
    assert owed.wait(OTHER) == 0


async def test_nobody_waits_longer_than_the_most() -> None:
    owed = Debts(asyncio.get_running_loop())
    assert owed.charge(PROCESS, 1000 * MOST)
    assert 0 < owed.wait(PROCESS) <= MOST


async def test_one_fault_is_free_and_the_next_is_not() -> None:
    owed = Debts(asyncio.get_running_loop())
    assert not owed.charge(PROCESS, FAULT)
    assert owed.charge(PROCESS, FAULT)


async def test_those_who_owe_nothing_any_more_are_forgotten() -> None:
    owed = Debts(asyncio.get_running_loop())
    owed.charge(PROCESS, MOST)
    for pid in range(2, 5000):
        owed.charge(Process(pid, 0, 0), 0)
    assert len(owed) < 2000
    assert owed.wait(PROCESS) > 0


def test_many_ports_at_once_cost_more_than_one_by_one() -> None:
    assert for_ports(1024) > 4 * 1024 * for_ports(1)
    assert for_ports(1) < 2 * debts.FREE / 1000
