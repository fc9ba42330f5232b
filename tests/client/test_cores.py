"""The cores take the same steps in Python and, where that is to be had, compiled."""

import asyncio
from collections import deque
from types import ModuleType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus import cores
from mainbus.quick import COMPILED

WAYS: dict[str, ModuleType] = {"python": cores}
if COMPILED:
    from mainbus import cores_fast

    WAYS["compiled"] = cores_fast

EVERYWHERE = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
FEW = st.integers(0, 3)


class Loop:
    """Remembers what it is to call."""

    def __init__(self) -> None:
        self.soon: list[Any] = []

    def call_soon(self, call: Any) -> None:
        self.soon.append(call)


def outbox(way: ModuleType, max_calls: int = 8) -> tuple[Any, Loop]:
    """Return the core of an outbox, with something to flush it, and its loop."""
    loop = Loop()

    class Outbox(way.OutboxCore):  # type: ignore[name-defined, misc]
        def flush(self) -> None:
            self._scheduled = False

    return Outbox(cast(asyncio.AbstractEventLoop, loop), max_calls), loop


@EVERYWHERE
def test_all_of_one_turn_is_flushed_once(way: ModuleType) -> None:
    box, loop = outbox(way)
    box.put(b"one")
    box.put(b"three")
    box.flush_soon()
    assert (box.queued, box._packets) == (8, [b"one", b"three"])
    assert len(loop.soon) == 1
    loop.soon.pop()()
    box.put(b"x")
    assert len(loop.soon) == 1


@given(FEW, FEW, FEW, FEW, st.booleans(), st.booleans(), st.sampled_from([0, cores.ROOM - 1, cores.ROOM]))
def test_a_route_is_free_and_has_credit(
    credit: int, charged: int, others: int, max_calls: int, paused: bool, waits: bool, queued: int
) -> None:
    said = set()
    for way in WAYS.values():
        box, _ = outbox(way, max_calls)
        box.queued, box.calls = queued, others
        route = way.RouteCore(box, credit, deque([1] if waits else []))
        route.charge(charged)
        route.paused = paused
        said.add((route.is_free, route.has_credit, route.unanswered, box.calls))
    assert said == {
        (
            not paused and not waits and queued < cores.ROOM,
            charged < credit and others + charged < max_calls,
            charged,
            others + charged,
        )
    }


@EVERYWHERE
def test_request_numbers_come_round_and_pass_over_those_in_use(way: ModuleType) -> None:
    calls = way.CallsCore(Loop())
    assert [calls.next_request(), calls.next_request()] == [1, 2]
    calls._last = cores.MAX_U32 - 1
    calls._pending |= {1: None, 2: None}
    # 0 is no request.
    assert [calls.next_request(), calls.next_request()] == [cores.MAX_U32, 3]


@given(FEW, FEW, st.booleans(), st.booleans(), FEW, FEW, st.booleans())
def test_an_inbox_says_what_may_start(
    waits: int, begins: int, resolved: bool, queued: bool, running: int, limit: int, is_coroutine: bool
) -> None:
    said = set()
    for way in WAYS.values():
        inbox = way.InboxCore(limit, deque([1] if queued else []))
        inbox._waits, inbox._begins, inbox.running = waits, begins, running
        if resolved:
            inbox.hold_for_awaiter()
        said.add((inbox.clear, inbox.full, inbox.waiting, inbox.may_call(is_coroutine)))
    assert said == {
        (
            not (waits or begins or resolved or queued),
            running >= limit,
            queued and running < limit,
            not waits and not resolved and (is_coroutine or not begins) and running < limit,
        )
    }


@EVERYWHERE
def test_a_target_keeps_what_calling_it_takes(way: ModuleType) -> None:
    target = way.TargetCore(print, 1, 2, True, False, True)
    assert (target.fn, target.least, target.most) == (print, 1, 2)
    assert (target.is_plain, target.takes_main, target.takes_renderers) == (True, False, True)
