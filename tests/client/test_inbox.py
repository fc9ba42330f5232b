"""What has arrived and may not be started yet: order around first steps, awaiters, and too many tasks."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest
from mainbus.inbox import Inbox


class Arrivals:
    """An inbox and what was started."""

    def __init__(self, limit: int = 2, on_low: Callable[[], None] | None = None) -> None:
        self.inbox = Inbox(asyncio.get_running_loop(), limit, on_low)
        self.started: list[object] = []

    def add(self, name: object, size: int = 1) -> None:
        self.inbox.add(partial(self._start, name), size)

    def _start(self, name: object) -> bool:
        self.started.append(name)
        return True


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_fresh_one_is_clear() -> None:
    inbox = Arrivals().inbox
    assert inbox.clear
    assert inbox.idle
    assert not inbox.waiting
    assert inbox.may_call(is_coroutine=False)


@pytest.mark.contract("2.20")
async def test_a_plain_function_waits_for_the_first_step_of_a_task_and_a_coroutine_does_not() -> None:
    arrivals = Arrivals()
    arrivals.inbox.hold_for_first_step()
    assert not arrivals.inbox.clear
    assert not arrivals.inbox.may_call(is_coroutine=False)
    assert arrivals.inbox.may_call(is_coroutine=True)
    await _turns(2)
    assert arrivals.inbox.clear


@pytest.mark.contract("3.4")
async def test_nothing_starts_until_the_code_that_awaits_a_reply_has_run() -> None:
    arrivals = Arrivals()
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def through_two_tasks() -> None:
        await asyncio.gather(asyncio.wait_for(future, 10))
        arrivals.started.append("awaiter")

    task = asyncio.create_task(through_two_tasks())
    await _turns(3)
    future.set_result(None)
    arrivals.inbox.hold_for_awaiter()
    arrivals.add("listener")
    await task
    await _turns(8)
    assert arrivals.started == ["awaiter", "listener"]


async def test_the_replies_of_one_turn_share_a_hold() -> None:
    arrivals = Arrivals()
    for _ in range(100):
        arrivals.inbox.hold_for_awaiter()
    arrivals.add("listener")
    await _turns(10)
    assert arrivals.started == ["listener"]


async def test_what_waits_starts_in_order_and_behind_what_was_put_back() -> None:
    arrivals = Arrivals()
    arrivals.inbox.hold()
    arrivals.add("second")
    arrivals.add("third")
    arrivals.inbox.put_back(partial(arrivals._start, "first"))
    await _turns(3)
    assert not arrivals.started
    arrivals.inbox.release()
    await _turns(2)
    assert arrivals.started == ["first", "second", "third"]
    assert arrivals.inbox.idle


async def test_what_cannot_go_on_lets_nothing_pass() -> None:
    arrivals = Arrivals()
    inbox = arrivals.inbox
    attempts: list[int] = []

    def stuck() -> bool:
        attempts.append(1)
        if len(attempts) < 3:
            inbox.hold_for_first_step()
            inbox.put_back(stuck)
            return False
        arrivals.started.append("stuck")
        return True

    inbox.add(stuck, 1)
    arrivals.add("behind")
    await _turns(10)
    assert arrivals.started == ["stuck", "behind"]


@pytest.mark.contract("9.4")
async def test_one_turn_starts_a_limited_number() -> None:
    arrivals = Arrivals()
    for number in range(300):
        arrivals.add(number)
    await _turns(1)
    assert len(arrivals.started) == 128
    await _turns(2)
    assert arrivals.started == list(range(300))


async def test_too_many_tasks_make_arrivals_wait_and_let_replies_pass() -> None:
    arrivals = Arrivals(limit=1)
    inbox = arrivals.inbox
    inbox.task_started()
    assert inbox.full
    arrivals.add("waits")
    await _turns(3)
    assert not arrivals.started
    # A task that waits for a reply must get it, or nothing would ever go on.
    assert not inbox.waiting
    inbox.task_ended()
    await _turns(2)
    assert arrivals.started == ["waits"]


async def test_a_reply_that_waits_passes_once_too_many_tasks_run() -> None:
    arrivals = Arrivals(limit=1)
    inbox = arrivals.inbox

    def start_task() -> bool:
        inbox.task_started()
        return True

    inbox.hold()
    inbox.add(start_task, 1)
    arrivals.add("waits")
    assert inbox.waiting
    for name in ("reply", "another"):
        inbox.add(partial(arrivals._start, name), 1, is_reply=True)
    inbox.release()
    await _turns(3)
    # The task that was started in front of them may wait for the code that awaits one of them.
    assert inbox.full
    assert arrivals.started == ["reply", "another"]
    assert inbox.size == 1
    inbox.task_ended()
    await _turns(2)
    assert arrivals.started == ["reply", "another", "waits"]
    assert inbox.size == 0


async def test_replies_outlive_their_sender_unless_they_are_dropped_too() -> None:
    arrivals = Arrivals()
    inbox = arrivals.inbox
    inbox.hold()
    arrivals.add("a message")
    inbox.add(partial(arrivals._start, "reply"), 5, is_reply=True)
    inbox.forget()
    assert (inbox.count, inbox.size) == (1, 5)
    inbox.forget_replies()
    assert (inbox.count, inbox.size) == (0, 0)
    inbox.release()
    await _turns(3)
    assert not arrivals.started


async def test_size_counts_what_waits_and_the_owner_is_told_when_it_shrinks() -> None:
    told: list[int] = []
    arrivals = Arrivals(on_low=lambda: told.append(arrivals.inbox.size))
    arrivals.add("one", size=10)
    arrivals.add("two", size=20)
    assert (arrivals.inbox.size, arrivals.inbox.count) == (30, 2)
    await _turns(2)
    assert told == [0]


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("late", [False, True])
async def test_an_invoke_that_is_cancelled_while_it_waits_is_known_when_its_turn_comes(late: bool) -> None:
    arrivals, found = Arrivals(), list[bool | None]()
    inbox = arrivals.inbox

    def look(request: int) -> bool:
        found.append(inbox.was_cancelled(request))
        return True

    inbox.hold()
    for request in (7, 8):
        inbox.add(partial(look, request), 1, request)
    assert inbox.waits_for(7)
    inbox.cancel(7, late=late)
    # The first reason is the one that counts.
    inbox.cancel(7, late=not late)
    inbox.release()
    await _turns(3)
    assert found == [late, None]
    assert not inbox.waits_for(7)
    assert inbox.was_cancelled(7) is None


async def test_cancelling_what_does_not_wait_is_not_remembered() -> None:
    arrivals = Arrivals()
    arrivals.inbox.hold()
    arrivals.add("a message")
    arrivals.inbox.add(lambda: True, 1, 8)
    for request in (0, *range(9, 1000)):
        arrivals.inbox.cancel(request)
    assert arrivals.inbox._invokes == {8: None}
    arrivals.inbox.release()
    await _turns(3)
    assert not arrivals.inbox._invokes


@pytest.mark.contract("5.7")
async def test_an_invoke_that_was_put_back_waits_too() -> None:
    arrivals, found = Arrivals(), list[bool | None]()
    inbox = arrivals.inbox

    def look(request: int) -> bool:
        found.append(inbox.was_cancelled(request))
        return True

    inbox.hold()
    inbox.starting = 30
    inbox.put_back(partial(look, 7), 7)
    assert (inbox.size, inbox.waits_for(7)) == (30, True)
    inbox.cancel(7)
    inbox.release()
    await _turns(3)
    assert found == [False]
    assert (inbox.size, inbox.waits_for(7)) == (0, False)


async def test_what_is_put_back_counts_what_it_counted_before() -> None:
    arrivals, sizes = Arrivals(), list[int]()
    inbox = arrivals.inbox

    def stuck() -> bool:
        sizes.append(inbox.size)
        if len(sizes) == 1:
            inbox.hold_for_first_step()
            inbox.put_back(stuck)
            sizes.append(inbox.size)
        return len(sizes) > 2

    inbox.add(stuck, 50)
    assert inbox.size == 50
    await _turns(5)
    assert sizes == [0, 50, 0]


@pytest.mark.contract("9.5")
async def test_what_a_sender_that_is_gone_has_sent_never_starts() -> None:
    arrivals = Arrivals()
    arrivals.add("late")
    arrivals.inbox.forget()
    await _turns(3)
    assert not arrivals.started
    assert not arrivals.inbox.size
