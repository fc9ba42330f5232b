"""Running listeners and handlers: one answer each, in order, whatever kind of callable, and harm to nobody else."""

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
from mainbus import dispatch
from mainbus.dispatch import Dispatch
from mainbus.errors import InvokeTimeout, NoHandlerError, ValidationError
from mainbus.inbox import Inbox
from mainbus.target import Target


@dataclass(frozen=True)
class Event:
    """As much of an event as the dispatch looks at."""

    request_id: int = 1
    channel: str = "x"


class Desk:
    """A dispatch with one inbox, and everything it came to."""

    def __init__(self, grace: float = 60) -> None:
        self.outcomes: list[tuple[str, object]] = []
        self.changed = asyncio.Event()
        self.inbox = Inbox(asyncio.get_running_loop(), 256)
        self.dispatch = Dispatch(
            asyncio.get_running_loop(),
            answer=lambda event, value: self._note("answer", value),
            item=self._item,
            raised=lambda event, error: self._note("raised", error),
            refuse=lambda event, error: self._note("refused", error),
            report=lambda error, event: self._note("reported", error),
            cancel_grace=grace,
        )

    def handle(self, fn: Callable[..., Any], *args: object, request: int = 1, thread: bool = False) -> bool:
        return self.dispatch.handler(self.inbox, Event(request), args, Target(fn, thread=thread))

    def listen(self, *fns: Callable[..., Any], args: tuple[object, ...] = ()) -> bool:
        return self.dispatch.listeners(self.inbox, Event(), args, [Target(fn) for fn in fns])

    def _item(self, event: Event, value: object) -> int:
        self._note("item", value)
        return 0

    def _note(self, what: str, value: object) -> None:
        self.outcomes.append((what, value))
        self.changed.set()

    async def until(self, count: int = 1) -> list[tuple[str, object]]:
        while len(self.outcomes) < count:
            self.changed.clear()
            await self.changed.wait()
        # What comes once too often would come now.
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(self.outcomes) == count
        return self.outcomes


class Awaitable:
    """Neither coroutine nor future."""

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        return 42


async def _coroutine(event: Event) -> int:
    await asyncio.sleep(0)
    return 42


@pytest.mark.contract("2.7")
@pytest.mark.parametrize(
    "fn",
    [
        lambda event: 42,
        _coroutine,
        lambda event: _coroutine(event),
        lambda event: Awaitable(),
        lambda event: asyncio.ensure_future(_coroutine(event)),
    ],
    ids=["plain", "coroutine function", "coroutine", "awaitable", "task"],
)
async def test_what_counts_is_the_result(fn: Callable[..., Any]) -> None:
    desk = Desk()
    desk.handle(fn)
    assert await desk.until() == [("answer", 42)]
    assert not desk.dispatch.tasks
    assert desk.inbox.idle


class Leaving:
    """What ends the process when somebody asks what it is."""

    @property
    def __class__(self) -> Any:
        raise SystemExit(3)

    @__class__.setter
    def __class__(self, cls: Any) -> None:
        """Never called: it is there for the type checker."""


@pytest.mark.contract("5.5")
@pytest.mark.parametrize("way", ["handler", "returned"])
async def test_who_ends_the_process_as_its_result_is_looked_at_has_raised(way: str) -> None:
    desk = Desk()
    # Where tasks are eager, the first step of a coroutine does it.
    result: Any = Leaving()
    # As the compiled way hands it over, or the long way has it.
    returned = partial(desk.dispatch.returned, desk.inbox, Event(), result)
    with pytest.raises(SystemExit):
        returned() if way == "returned" else desk.handle(lambda event: result)
    [(what, error)] = desk.outcomes
    assert what == "raised"
    assert isinstance(error, SystemExit)


@pytest.mark.contract("2.10")
async def test_a_thread_runs_what_asks_for_one_and_the_loop_the_rest() -> None:
    desk = Desk()
    desk.handle(lambda event: threading.get_ident(), thread=True)
    [(what, ident)] = await desk.until()
    assert what == "answer"
    assert ident != threading.get_ident()


@pytest.mark.contract("2.10")
async def test_what_takes_long_on_the_loop_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dispatch, "SLOW", -1.0)
    desk = Desk()
    desk.handle(lambda event: None)
    assert "channel 'x'" in caplog.text
    assert "thread=True" in caplog.text


@pytest.mark.contract("2.9")
async def test_a_wrong_number_of_arguments_is_refused_and_nothing_runs() -> None:
    desk = Desk()
    desk.handle(lambda event, one: pytest.fail("it ran"))
    desk.listen(lambda event: pytest.fail("it ran"), args=(1,))
    (what, error), (other, reported) = await desk.until(2)
    assert (what, other) == ("refused", "reported")
    assert isinstance(error, ValidationError)
    assert isinstance(reported, ValidationError)


@pytest.mark.contract("2.8")
async def test_a_listener_that_raises_is_reported_and_the_others_run() -> None:
    desk, ran = Desk(), list[str]()

    def broken(event: Event) -> None:
        raise ValueError("plain")

    async def broken_later(event: Event) -> None:
        raise ValueError("coroutine")

    def cancelled(event: Event) -> None:
        raise asyncio.CancelledError

    desk.listen(broken, broken_later, cancelled, lambda event: ran.append("last"))
    outcomes = await desk.until(3)
    assert {what for what, _ in outcomes} == {"reported"}
    assert {type(error) for _, error in outcomes} == {ValueError, asyncio.CancelledError}
    assert ran == ["last"]


@pytest.mark.contract("5.5")
@pytest.mark.parametrize("later", [False, True])
async def test_a_handler_that_raises_cancelled_error_answers_and_harms_nobody(later: bool) -> None:
    desk = Desk()

    async def coroutine(event: Event) -> None:
        raise asyncio.CancelledError

    def plain(event: Event) -> None:
        raise asyncio.CancelledError

    desk.handle(coroutine if later else plain)
    [(what, error)] = await desk.until()
    assert what == "raised"
    assert isinstance(error, asyncio.CancelledError)


@pytest.mark.contract("2.6")
async def test_a_once_whose_call_was_had_is_passed_over() -> None:
    desk, calls = Desk(), list[Event]()
    once = Target(calls.append, once=True)
    for _ in range(2):
        desk.dispatch.listeners(desk.inbox, Event(), (), [once])
    assert len(calls) == 1
    handler = Target(lambda event: 42, once=True)
    for _ in range(2):
        desk.dispatch.handler(desk.inbox, Event(), (), handler)
    (first, second) = await desk.until(2)
    assert first == ("answer", 42)
    assert isinstance(second[1], NoHandlerError)


@pytest.mark.contract("2.20")
async def test_callables_of_any_kind_start_in_order() -> None:
    desk, started = Desk(), list[int]()

    def plain(event: Event, number: int) -> None:
        started.append(number)

    async def coroutine(event: Event, number: int) -> None:
        started.append(number)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def awaitable(event: Event, number: int) -> Awaitable:
        started.append(number)
        return Awaitable()

    kinds = (plain, coroutine, awaitable)
    for number in range(60):
        target = Target(kinds[number * 7 % 3 if number % 5 else 1])

        def start(number: int = number, target: Target = target) -> bool:
            if number % 2:
                return desk.dispatch.handler(desk.inbox, Event(number), (number,), target)
            return desk.dispatch.listeners(desk.inbox, Event(), (number,), [target])

        if desk.inbox.clear:
            start()
        else:
            desk.inbox.add(start, 1)
    while not desk.inbox.idle or desk.dispatch.tasks:  # noqa: ASYNC110 - nobody tells when all is over
        await asyncio.sleep(0)
    assert started == list(range(60))


@pytest.mark.contract("5.7")
async def test_cancelling_cancels_the_task_once_and_waits_for_it() -> None:
    desk, cancels, release = Desk(), list[int](), asyncio.Event()

    async def stubborn(event: Event) -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                cancels.append(1)
        return "done at last"

    desk.handle(stubborn, request=7)
    await asyncio.sleep(0)
    desk.dispatch.cancel(desk.inbox, 7)
    desk.dispatch.cancel(desk.inbox, 7)
    desk.dispatch.cancel_all(desk.inbox)
    for _ in range(5):
        await asyncio.sleep(0)
    assert cancels == [1]
    # It stays charged until it ends.
    assert list(desk.inbox.handlers) == [7]
    release.set()
    assert await desk.until() == [("answer", "done at last")]
    assert not desk.inbox.handlers


@pytest.mark.contract("5.7", "8.6")
async def test_a_cancelled_handler_that_has_ended_is_not_kept_for_the_rest_of_its_grace() -> None:
    desk = Desk(grace=3600)
    running: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()

    async def handler(event: Event) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        del task
        await asyncio.Event().wait()

    for request in range(10):
        desk.handle(handler, request=request)
    await asyncio.sleep(0)
    assert len(running) == 10
    for request in range(10):
        desk.dispatch.cancel(desk.inbox, request)
    await desk.until(10)
    gc.collect()
    assert not running


@pytest.mark.contract("5.7")
async def test_what_still_runs_after_the_grace_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    desk, release = Desk(grace=0.0), asyncio.Event()
    logged = asyncio.Event()

    class Watch(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.set()

    async def stubborn(event: Event) -> None:
        try:
            await release.wait()
        except asyncio.CancelledError:
            await release.wait()

    watch = Watch()
    logging.getLogger("mainbus").addHandler(watch)
    try:
        desk.handle(stubborn)
        await asyncio.sleep(0)
        desk.dispatch.cancel(desk.inbox, 1)
        await logged.wait()
    finally:
        logging.getLogger("mainbus").removeHandler(watch)
    assert "still runs" in caplog.text
    assert "'x'" in caplog.text
    release.set()
    await desk.until()


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("late", [False, True])
async def test_an_invoke_cancelled_before_its_turn_does_not_run(late: bool) -> None:
    desk = Desk()
    desk.inbox.hold()
    desk.inbox.add(lambda: desk.handle(lambda event: pytest.fail("it ran")), 1, 1)
    desk.dispatch.cancel(desk.inbox, 1, late=late)
    desk.inbox.release()
    [(what, error)] = await desk.until()
    assert what == ("refused" if late else "raised")
    assert isinstance(error, InvokeTimeout if late else asyncio.CancelledError)


@pytest.mark.contract("5.7")
@pytest.mark.parametrize("late", [False, True])
async def test_a_handler_that_was_cancelled_ends_for_the_reason_of_that(late: bool) -> None:
    desk = Desk()

    async def forever(event: Event) -> None:
        await asyncio.get_running_loop().create_future()

    desk.handle(forever)
    await asyncio.sleep(0)
    desk.dispatch.cancel(desk.inbox, 1, late=late)
    desk.dispatch.cancel(desk.inbox, 1, late=not late)
    [(what, error)] = await desk.until()
    assert what == ("refused" if late else "raised")
    assert isinstance(error, InvokeTimeout if late else asyncio.CancelledError)


@pytest.mark.contract("5.7")
async def test_what_a_late_handler_raises_by_itself_is_worth_more_than_that_it_was_late() -> None:
    desk = Desk()

    async def fails(event: Event) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            raise ValueError("mine") from None

    desk.handle(fails)
    await asyncio.sleep(0)
    desk.dispatch.cancel(desk.inbox, 1, late=True)
    [(what, error)] = await desk.until()
    assert (what, type(error)) == ("raised", ValueError)


async def test_listeners_under_way_can_be_cancelled_apart_from_handlers() -> None:
    desk, ended = Desk(), list[str]()

    async def forever(event: Event, name: str) -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(name)

    desk.listen(forever, args=("listener",))
    desk.handle(forever, "handler")
    await asyncio.sleep(0)
    desk.dispatch.cancel_listeners()
    for _ in range(5):
        await asyncio.sleep(0)
    assert ended == ["listener"]
    desk.dispatch.cancel_all(desk.inbox)
    await desk.until()
    assert ended == ["listener", "handler"]
