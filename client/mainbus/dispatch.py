"""Runs listeners and handlers: in order, each on its own, with one answer to each invoke. Both ends use it.

User code never runs inside a task group or cancel scope of ours. A plain function is called where the bytes arrived;
a coroutine becomes a plain asyncio task, cancelled by exactly one `cancel()`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from time import perf_counter
from typing import Any, Final

from mainbus.channels import Target
from mainbus.errors import InvokeTimeout, MainbusError, NoHandlerError, ValidationError, from_wire
from mainbus.inbox import Inbox, Running
from mainbus.streaming import Producer, refuse_generator

SLOW: Final = 0.1
"""Seconds that a plain function may hold up the loop before it is logged."""

_EAGER: Final = sys.version_info >= (3, 12)
_eager_task: Final[Callable[..., asyncio.Task[Any]]] = asyncio.Task
_VALUES: Final = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})

log = logging.getLogger("mainbus")


class Dispatch:
    """Runs the callables of one end.

    Args:
        loop: The loop they run on.
        answer: Called once for each invoke that has a result, with event and value; for a stream, at its end.
        item: Called for each item of a stream, with event and value; returns the bytes of its body.
        raised: Called once for each whose handler raised, with event and exception.
        refuse: Called once for each that no handler was run for, with event and reason.
        report: Called with the exception of a one-way listener and its event.
        cancel_grace: Seconds after which a cancelled handler that still runs is logged.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        answer: Callable[[Any, object], None],
        item: Callable[[Any, object], int],
        raised: Callable[[Any, BaseException], None],
        refuse: Callable[[Any, MainbusError], None],
        report: Callable[[BaseException, Any], None],
        cancel_grace: float,
    ) -> None:
        self._loop = loop
        self._answer = answer
        self._item = item
        self._raised = raised
        self._refuse = refuse
        self._report = report
        self._cancel_grace = cancel_grace
        self.tasks: set[asyncio.Task[Any]] = set()
        """Everything under way, listeners and handlers."""
        self._listening: set[asyncio.Task[Any]] = set()

    # Public

    def listeners(
        self,
        inbox: Inbox,
        event: Any,
        args: Sequence[object],
        targets: Sequence[Target],
        first: int = 0,
        then: Callable[[], bool] | None = None,
    ) -> bool:
        """Call the listeners of a one-way message from the `first` on, `then` others; False if the rest has to wait."""
        count = len(args)
        for index in range(first, len(targets)):
            target = targets[index]
            if not inbox.may_call(target.is_coroutine):
                inbox.put_back(partial(self.listeners, inbox, event, args, targets, index, then))
                return False
            if target.once and not target.consume():
                continue
            if target.annotated is None and target.least <= count <= target.most:
                self._listen(inbox, event, args, target)
                continue
            try:
                fitting = target.fit(args)
            except ValidationError as error:
                # Whoever keeps it must not keep the event, by this frame: a `send_sync` would wait for that.
                self._report(error.with_traceback(None), event)
            else:
                self._listen(inbox, event, fitting, target)
        return then() if then is not None else True

    def handler(self, inbox: Inbox, event: Any, args: Sequence[object], target: Target) -> bool:
        """Call the handler of an invoke; False if it has to wait."""
        if not inbox.may_call(target.is_coroutine):
            inbox.put_back(partial(self.handler, inbox, event, args, target), event.request_id)
            return False
        fitting = self._fitting(inbox, event, args, target)
        if fitting is None:
            return True
        try:
            result = self._awaited(inbox, event, self._result(inbox, event, fitting, target))
        except (KeyboardInterrupt, SystemExit) as error:
            self._raised(event, error)
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it was, the caller gets it
            self._raised(event, error)
        else:
            self._answer_with(inbox, event, result)
        return True

    def returned(self, inbox: Inbox, event: Any, result: object) -> None:
        """Answer an invoke with what its handler has returned, whatever that is."""
        try:
            result = self._awaited(inbox, event, result)
        except (KeyboardInterrupt, SystemExit) as error:
            # By the first step of a task.
            self._raised(event, error)
            raise
        except BaseException as error:  # noqa: BLE001 - as if the handler had raised it
            self._raised(event, error)
        else:
            self._answer_with(inbox, event, result)

    def heard(self, inbox: Inbox, event: Any, result: object) -> None:
        """Follow what a listener has returned, whatever that is."""
        try:
            result = self._awaited(inbox, event, result)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - as if the listener had raised it
            self._report(error, event)
        else:
            if isinstance(result, asyncio.Task):
                self._follow(inbox, event, result)

    def say_slow(self, began: float, target: Target, channel: str) -> None:
        """Log a plain function that has held up the loop."""
        took = (perf_counter() - began) * 1000
        text = "%r took %.0f ms on the loop for channel %r; thread=True runs it in a thread"
        log.warning(text, target.fn, took, channel)

    def stream(self, inbox: Inbox, event: Any, args: Sequence[object], target: Target) -> bool:
        """Call the handler of a stream; False if it has to wait."""
        if not inbox.may_call(target.is_coroutine):
            inbox.put_back(partial(self.stream, inbox, event, args, target), event.request_id)
            return False
        fitting = self._fitting(inbox, event, args, target)
        if fitting is None:
            return True
        producer = inbox.streams[event.request_id] = Producer(self._loop, partial(self._item, event))
        try:
            result = self._result(inbox, event, fitting, target)
            if isawaitable(result) or isinstance(result, AsyncGenerator):
                producer.start(self._task(inbox, producer.run(result), event), result)
            else:
                producer.put(result)
        except (KeyboardInterrupt, SystemExit) as error:
            self._not_streamed(inbox, event, error)
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it was, the caller gets it
            self._not_streamed(inbox, event, error)
        else:
            self._streaming(inbox, event, producer)
        return True

    def demand(self, inbox: Inbox, request: int, credit: int) -> None:
        """Let a stream go on with items of `credit` more bytes."""
        producer = inbox.streams.get(request)
        if producer is not None:
            producer.credited(credit)

    def cancel(self, inbox: Inbox, request: int, *, late: bool = False) -> None:
        """Cancel the handler of a request, or keep it from starting. `late`: since the deadline has passed."""
        running = inbox.handlers.get(request) or inbox.streams.get(request)
        if running is None:
            inbox.cancel(request, late=late)
        elif not running.cancelled:
            running.late = late
            running.cancel()
            if running.task is not None and not running.task.done():
                timer = self._loop.call_later(self._cancel_grace, self._overdue, running.task)
                # Or whoever asks and cancels in turn has us remember all of it for so long.
                running.task.add_done_callback(lambda _: timer.cancel())

    def cancel_all(self, inbox: Inbox) -> None:
        """Cancel all handlers of a sender: it is gone, and what has not started never will."""
        inbox.forget()
        for request, _ in inbox.requests():
            self.cancel(inbox, request)

    def cancel_listeners(self) -> None:
        """Cancel the listeners under way; handlers are cancelled by their sender's end, once."""
        for task in self._listening:
            task.cancel()

    # Private

    def _fitting(self, inbox: Inbox, event: Any, args: Sequence[object], target: Target) -> Sequence[object] | None:
        """Return what the handler of a request is to be called with; None: it is not, and the request was answered."""
        late = inbox.was_cancelled(event.request_id)
        if late is not None:
            self._cancelled(event, late=late)
        elif target.once and not target.consume():
            # Its one call was taken by an invoke that came in between: nobody handles the channel now.
            self._refuse(event, NoHandlerError(event.channel))
        else:
            try:
                return target.fit(args, event.channel)
            except ValidationError as error:
                self._refuse(event, error)
        return None

    def _awaited(self, inbox: Inbox, event: Any, result: object) -> object:
        """Return what a callable has returned, or the task that will have it."""
        if type(result) in _VALUES:
            return result
        if isawaitable(result):
            return self._task(inbox, result, event)
        if isinstance(result, AsyncGenerator):
            # Made a task, whose result it is: the rest is the same as with one that a coroutine returns.
            return self._task(inbox, _value(result), event)
        return result

    def _result(self, inbox: Inbox, event: Any, args: Sequence[object], target: Target) -> object:
        """Call one callable; returns what it returns."""
        if target.thread:
            return self._in_thread(inbox, target.fn, event, args)
        if target.is_coroutine:
            return target.fn(event, *args)
        began = perf_counter()
        try:
            return target.fn(event, *args)
        finally:
            if perf_counter() - began > SLOW:
                self.say_slow(began, target, event.channel)

    def _task(self, inbox: Inbox, awaitable: Awaitable[Any], event: Any) -> asyncio.Task[Any]:
        coroutine = awaitable if isinstance(awaitable, Coroutine) else _await(awaitable)
        if _EAGER:
            task = _eager_task(coroutine, loop=self._loop, name=event.channel, eager_start=True)
        else:
            task = asyncio.Task(coroutine, loop=self._loop, name=event.channel)
            inbox.hold_for_first_step()
        return task

    def _in_thread(
        self, inbox: Inbox, fn: Callable[..., Any], event: Any, args: Sequence[object]
    ) -> Coroutine[Any, Any, Any]:
        waits = True

        def begun(_: object = None) -> None:
            nonlocal waits
            if waits:
                waits = False
                inbox.release()

        def run() -> Any:
            self._loop.call_soon_threadsafe(begun)
            return fn(event, *args)

        future = self._loop.run_in_executor(None, copy_context().run, run)
        inbox.hold()
        # Cancelled while all workers were busy, it never begins.
        future.add_done_callback(begun)
        return _from_thread(future)

    def _listen(self, inbox: Inbox, event: Any, args: Sequence[object], target: Target) -> None:
        try:
            result = self._awaited(inbox, event, self._result(inbox, event, args, target))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - it is reported; the others still run
            self._report(error, event)
            return
        if result is not None and isinstance(result, asyncio.Task):
            self._follow(inbox, event, result)

    def _follow(self, inbox: Inbox, event: Any, task: asyncio.Task[Any]) -> None:
        if task.done():
            self._listened(inbox, event, task)
            return
        inbox.task_started()
        self.tasks.add(task)
        self._listening.add(task)
        task.add_done_callback(partial(self._followed, inbox, event))

    def _followed(self, inbox: Inbox, event: Any, task: asyncio.Task[Any]) -> None:
        inbox.task_ended()
        self.tasks.discard(task)
        self._listening.discard(task)
        self._listened(inbox, event, task)

    def _listened(self, inbox: Inbox, event: Any, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            if isinstance(task.result(), AsyncGenerator):
                text = f"a listener of {event.channel!r} returned an async generator, whose items nobody takes"
                self._follow(inbox, event, self._task(inbox, refuse_generator(task.result(), text), event))
        # The loop itself raises those two.
        elif not isinstance(error, KeyboardInterrupt | SystemExit):
            self._report(error, event)

    def _answer_with(self, inbox: Inbox, event: Any, result: object) -> None:
        if isinstance(result, asyncio.Task):
            self._handle(inbox, event, result)
        else:
            self._answer(event, result)

    def _handle(self, inbox: Inbox, event: Any, task: asyncio.Task[Any]) -> None:
        if task.done():
            self._settle(inbox, event, task)
            return
        inbox.handlers[event.request_id] = Running(task)
        self.tasks.add(task)
        task.add_done_callback(partial(self._handled, inbox, event))

    def _handled(self, inbox: Inbox, event: Any, task: asyncio.Task[Any]) -> None:
        running = inbox.handlers.pop(event.request_id, None)
        self.tasks.discard(task)
        self._settle(inbox, event, task, late=running is not None and running.late)

    def _streaming(self, inbox: Inbox, event: Any, producer: Producer) -> None:
        """Follow a stream that has begun, and maybe ended."""
        task = producer.task
        if task is None:
            self._answer(event, None)
            del inbox.streams[event.request_id]
        elif task.done():
            self._streamed(inbox, event, task)
        else:
            self.tasks.add(task)
            task.add_done_callback(partial(self._streamed, inbox, event))

    def _streamed(self, inbox: Inbox, event: Any, task: asyncio.Task[Any]) -> None:
        producer = inbox.streams.pop(event.request_id)
        self.tasks.discard(task)
        self._settle(inbox, event, task, late=producer.late)

    def _not_streamed(self, inbox: Inbox, event: Any, error: BaseException) -> None:
        del inbox.streams[event.request_id]
        self._raised(event, error)

    def _settle(self, inbox: Inbox, event: Any, task: asyncio.Task[Any], *, late: bool = False) -> None:
        if task.cancelled():
            self._cancelled(event, late=late)
            return
        error = task.exception()
        if error is not None:
            self._raised(event, error)
            return
        result = task.result()
        if type(result) not in _VALUES and isinstance(result, AsyncGenerator):
            text = f"the handler of {event.channel!r} streams its result: ask with stream(), not with invoke()"
            self._handle(inbox, event, self._task(inbox, refuse_generator(result, text), event))
        else:
            self._answer(event, result)

    def _cancelled(self, event: Any, *, late: bool) -> None:
        if late:
            self._refuse(event, from_wire(InvokeTimeout.wire_code, event.channel, ""))
        else:
            self._raised(event, asyncio.CancelledError())

    def _overdue(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            log.warning(
                "handler of channel %r still runs %g s after it was cancelled", task.get_name(), self._cancel_grace
            )


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _value(value: object) -> object:
    return value


async def _from_thread(future: Awaitable[Any]) -> Any:
    result = await future
    return await result if isawaitable(result) else result
