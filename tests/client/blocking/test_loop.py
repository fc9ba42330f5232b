"""The reader thread makes calls in order, refuses what comes too late, and leaves nobody waiting."""

import asyncio
import logging
import signal
import threading
from collections.abc import Callable

import pytest
from mainbus.blocking.loop import LoopThread
from mainbus.blocking.waiter import Waiter
from mainbus.errors import LocalProtocolError, ObjectDestroyedError

from tests.support.threads import PATIENCE, in_thread


async def nothing() -> None:
    pass


def opened(
    closing: Callable[[], object] | None = None,
) -> LoopThread:
    loop = LoopThread(nothing, closing or nothing)  # type: ignore[arg-type]
    loop.open()
    return loop


def test_calls_are_made_in_order_on_one_thread() -> None:
    seen: list[object] = []
    loop = opened()
    for number in range(1000):
        loop.post(lambda number=number: seen.append(number))  # type: ignore[misc]
    loop.wait(lambda waiter: waiter.succeed(seen.append(threading.current_thread().name)))  # type: ignore[func-returns-value]
    loop.close()
    assert seen == [*range(1000), "mainbus reader"]


def test_calls_before_the_end_are_made() -> None:
    seen: list[str] = []

    async def closing() -> None:
        seen.append("closing")

    loop = opened(closing)
    held = threading.Event()
    loop.post(lambda: held.wait(PATIENCE))
    loop.post_verb(lambda: seen.append("verb"))
    loop.release()
    loop.post(lambda: seen.append("post"))
    with pytest.raises(ObjectDestroyedError):
        loop.post_verb(lambda: seen.append("never"))
    held.set()
    loop.close()
    loop.post(lambda: seen.append("never"))
    loop.close()
    assert seen == ["verb", "post", "closing"]


def test_size_counts_until_the_call_is_made() -> None:
    loop = opened()
    held = threading.Event()
    seen: list[int] = []
    loop.post(lambda: held.wait(PATIENCE))
    loop.post_verb(lambda: None, 100, seen.append)
    loop.post_verb(lambda: None, 10, seen.append)
    with pytest.raises(ValueError, match="full"):
        loop.post_verb(lambda: None, 1, raiser(ValueError("full")))
    assert seen == [0, 100]
    assert loop.waiting_bytes == 110
    held.set()
    loop.wait(lambda waiter: waiter.succeed(None))
    loop.wait(lambda waiter: waiter.succeed(None))
    assert loop.waiting_bytes == 0
    loop.close()


def raiser(error: Exception) -> Callable[[int], None]:
    def fail(_: object) -> None:
        raise error

    return fail


def test_error_of_a_call_is_logged_and_stops_no_other(caplog: pytest.LogCaptureFixture) -> None:
    loop = opened()
    loop.post(lambda: raiser(ValueError("some error"))(0))
    with pytest.raises(KeyError):
        loop.wait(raiser(KeyError()))  # type: ignore[arg-type]
    loop.close()
    assert "ValueError: some error" in caplog.text


def test_nobody_waits_for_a_loop_that_has_ended() -> None:
    loop = opened()
    started = threading.Event()
    waiting = in_thread(lambda: loop.wait(lambda waiter: started.set()))
    assert started.wait(PATIENCE)
    loop.close()
    with pytest.raises(ObjectDestroyedError):
        waiting()


def test_failure_to_open_is_raised_and_ends_the_thread() -> None:
    tries = []

    async def opening() -> None:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no broker")

    loop = LoopThread(opening, nothing)
    with pytest.raises(OSError, match="no broker"):
        loop.open()
    loop.open()
    with pytest.raises(LocalProtocolError, match="opened already"):
        loop.open()
    loop.check()
    loop.close()


def test_interrupted_wait_gives_up() -> None:
    loop = opened()
    main = threading.get_ident()
    futures: list[asyncio.Future[None]] = []

    def start(waiter: Waiter) -> None:
        futures.append(asyncio.get_running_loop().create_future())
        waiter.follow(futures[0])
        signal.pthread_kill(main, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        loop.wait(start)
    loop.close()
    assert futures[0].cancelled()


def test_interrupted_close_cancels_the_closing() -> None:
    main = threading.get_ident()
    ended: list[str] = []

    async def closing() -> None:
        signal.pthread_kill(main, signal.SIGINT)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    loop = opened(closing)
    with pytest.raises(KeyboardInterrupt):
        loop.close()
    assert ended == ["cancelled"]


def test_failure_of_the_closing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def closing() -> None:
        raise ValueError("some error")

    caplog.set_level(logging.ERROR)
    opened(closing).close()
    assert "ValueError: some error" in caplog.text


def test_what_is_posted_before_the_opening_is_called_by_it() -> None:
    seen: list[int] = []
    loop = LoopThread(nothing, nothing)
    loop.post(lambda: seen.append(1))
    loop.open()
    loop.close()
    assert seen == [1]
