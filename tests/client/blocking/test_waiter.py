"""A waiter has one outcome, the first."""

import asyncio
from collections.abc import Callable

import pytest
from mainbus.blocking.waiter import Waiter
from mainbus.errors import ObjectDestroyedError

from tests.support.threads import in_thread


def test_value_wakes_who_waits() -> None:
    waiter = Waiter()
    waiting = in_thread(waiter.wait)
    waiter.succeed(5)
    assert waiting() == 5


def test_error_is_raised_where_somebody_waits() -> None:
    waiter = Waiter()
    waiter.fail(ValueError("some error"))
    with pytest.raises(ValueError, match="some error"):
        waiter.wait()


def test_first_outcome_counts() -> None:
    waiter = Waiter()
    waiter.succeed(1)
    waiter.succeed(2)
    waiter.fail(ValueError())
    assert waiter.wait() == 1


async def test_follows_a_future() -> None:
    loop = asyncio.get_running_loop()
    outcomes: list[object] = []
    finishes: list[Callable[[asyncio.Future[int]], object]] = [
        lambda future: future.set_result(7),
        lambda future: future.set_exception(ValueError("some error")),
        lambda future: future.cancel(),
    ]
    for finish in finishes:
        waiter, future = Waiter(), loop.create_future()
        waiter.follow(future)
        finish(future)
        await asyncio.sleep(0)
        try:
            outcomes.append(waiter.wait())
        except (ValueError, ObjectDestroyedError) as error:
            outcomes.append(type(error))
    assert outcomes == [7, ValueError, ObjectDestroyedError]


async def test_giving_up_cancels_what_would_bring_the_outcome() -> None:
    waiter, future = Waiter(), asyncio.get_running_loop().create_future()
    waiter.give_up()
    waiter = Waiter()
    waiter.follow(future)
    waiter.give_up()
    assert waiter.done
    assert future.cancelled()
