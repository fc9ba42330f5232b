"""Many deadlines under one timer: on time, in order, only those still wanted, and never many that are not."""

import asyncio

from mainbus.deadlines import Deadlines


class Ledger:
    """Wanted keys, and those that expired."""

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.expired: list[str] = []
        self.changed = asyncio.Event()
        self.deadlines = Deadlines[str](asyncio.get_running_loop(), self.wanted.__contains__, self._expire)

    def add(self, seconds: float, key: str) -> None:
        self.wanted.add(key)
        self.deadlines.add(seconds, key)

    def _expire(self, key: str) -> None:
        self.expired.append(key)
        self.changed.set()

    async def until(self, count: int) -> None:
        while len(self.expired) < count:
            self.changed.clear()
            await self.changed.wait()


async def test_they_expire_in_order_of_time() -> None:
    ledger = Ledger()
    ledger.add(0.03, "third")
    ledger.add(0.01, "first")
    ledger.add(0.02, "second")
    await ledger.until(3)
    assert ledger.expired == ["first", "second", "third"]


async def test_what_is_not_wanted_any_more_is_passed_over() -> None:
    ledger = Ledger()
    ledger.add(0.01, "gone")
    ledger.add(0.02, "stays")
    ledger.wanted.discard("gone")
    await ledger.until(1)
    assert ledger.expired == ["stays"]


async def test_an_earlier_one_that_comes_later_is_not_late() -> None:
    ledger = Ledger()
    ledger.add(3600, "in an hour")
    ledger.add(0.0, "now")
    await ledger.until(1)
    assert ledger.expired == ["now"]
    ledger.deadlines.clear()


async def test_expiring_may_add_another() -> None:
    ledger = Ledger()
    again = ledger._expire

    def expire(key: str) -> None:
        again(key)
        if key == "one":
            ledger.add(0.0, "two")

    ledger.deadlines = Deadlines[str](asyncio.get_running_loop(), ledger.wanted.__contains__, expire)
    ledger.add(0.0, "one")
    await ledger.until(2)
    assert ledger.expired == ["one", "two"]


async def test_cleared_nothing_expires_and_no_timer_is_left() -> None:
    ledger = Ledger()
    ledger.add(0.0, "one")
    ledger.deadlines.clear()
    other = Ledger()
    other.add(0.01, "later")
    await other.until(1)
    assert not ledger.expired


async def test_thousands_of_short_calls_leave_no_thousands_of_entries() -> None:
    ledger = Ledger()
    for number in range(10_000):
        key = str(number)
        ledger.add(3600, key)
        ledger.wanted.discard(key)
    assert len(ledger.deadlines._heap) < 200
    ledger.deadlines.clear()


async def test_keys_that_cannot_be_ordered_may_share_a_moment() -> None:
    loop = asyncio.get_running_loop()
    expired: list[object] = []
    done = asyncio.Event()

    def expire(key: object) -> None:
        expired.append(key)
        if len(expired) == 3:
            done.set()

    deadlines = Deadlines[object](loop, lambda key: True, expire)
    keys = [object(), object(), object()]
    for key in keys:
        deadlines.add(0.0, key)
    await done.wait()
    assert set(expired) == set(keys)
