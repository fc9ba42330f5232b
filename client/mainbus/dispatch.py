"""Runs listeners and handlers: in order, each on its own, with one answer to each invoke. Both ends use it.

User code never runs inside a task group or cancel scope of ours. A plain function is called where the bytes arrived;
a coroutine becomes a plain asyncio task, cancelled by exactly one `cancel()`.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import copy_context
from functools import partial
from inspect import isawaitable
from time import perf_counter
from typing import Any, Final

from mainbus.channels import Target
from mainbus.errors import InvokeTimeout, MainbusError, NoHandlerError, ValidationError, from_wire
from mainbus.inbox import Inbox, Running

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
        answer: Called once for each invoke that has a result, with event and value.
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
        raised: Callable[[Any, BaseException], None],
        refuse: Callable[[Any, MainbusError], None],
        report: Callable[[BaseException, Any], None],
        cancel_grace: float,
    ) -> None:
        self._loop = loop
        self._answer = answer
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
        for index in range(first, len(targets)):
            target = targets[index]
            if not inbox.may_call(target.is_coroutine):
                inbox.put_back(partial(self.listeners, inbox, event, args, targets, index, then))
                return False
            if target.once and not target.consume():
                continue
            try:
                fitting = target.fit(args)
            except ValidationError as error:
                self._report(error, event)
            else:
                self._listen(inbox, event, fitting, target)
        return then() if then is not None else True

    def handler(self, inbox: Inbox, event: Any, args: Sequence[object], target: Target) -> bool:
        """Call the handler of an invoke; False if it has to wait."""
        if not inbox.may_call(target.is_coroutine):
            inbox.put_back(partial(self.handler, inbox, event, args, target))
            return False
        if inbox.was_cancelled(event.request_id):
            self._raised(event, asyncio.CancelledError())
            return True
        if target.once and not target.consume():
            # Its one call was taken by an invoke that came in between: nobody handles the channel now.
            self._refuse(event, NoHandlerError(event.channel))
            return True
        try:
            fitting = target.fit(args, event.channel)
        except ValidationError as error:
            self._refuse(event, error)
            return True
        try:
            result = self._call(inbox, event, fitting, target)
        except (KeyboardInterrupt, SystemExit) as error:
            self._raised(event, error)
            raise
        except BaseException as error:  # noqa: BLE001 - whatever it was, the caller gets it
            self._raised(event, error)
        else:
            if isinstance(result, asyncio.Task):
                self._handle(inbox, event, result)
            else:
                self._answer(event, result)
        return True

    def cancel(self, inbox: Inbox, request: int, *, late: bool = False) -> None:
        """Cancel the handler of a request, or keep it from starting. `late`: since the deadline has passed."""
        running = inbox.handlers.get(request)
        if running is None:
            inbox.cancel(request)
        elif not running.cancelled:
            running.cancelled = True
            running.late = late
            running.task.cancel()
            if not running.task.done():
                self._loop.call_later(self._cancel_grace, self._overdue, running.task)

    def cancel_all(self, inbox: Inbox) -> None:
        """Cancel all handlers of a sender: it is gone, and what has not started never will."""
        inbox.forget()
        for request in list(inbox.handlers):
            self.cancel(inbox, request)

    def cancel_listeners(self) -> None:
        """Cancel the listeners under way; handlers are cancelled by their sender's end, once."""
        for task in self._listening:
            task.cancel()

    # Private

    def _call(self, inbox: Inbox, event: Any, args: Sequence[object], target: Target) -> object:
        """Call one callable; returns its value, or the task that will have it."""
        if target.thread:
            return self._task(inbox, self._in_thread(inbox, target.fn, event, args), event)
        if target.is_coroutine:
            return self._task(inbox, target.fn(event, *args), event)
        began = perf_counter()
        try:
            result = target.fn(event, *args)
        finally:
            if perf_counter() - began > SLOW:
                log.warning(
                    "%r took %.0f ms on the loop for channel %r; thread=True runs it in a thread",
                    target.fn,
                    (perf_counter() - began) * 1000,
                    event.channel,
                )
        if type(result) in _VALUES:
            return result
        if isawaitable(result):
            return self._task(inbox, result, event)
        return result

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
            result = self._call(inbox, event, args, target)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - it is reported; the others still run
            self._report(error, event)
            return
        if not isinstance(result, asyncio.Task):
            return
        if result.done():
            self._listened(None, event, result)
            return
        inbox.task_started()
        self.tasks.add(result)
        self._listening.add(result)
        result.add_done_callback(partial(self._listened, inbox, event))

    def _listened(self, inbox: Inbox | None, event: Any, task: asyncio.Task[Any]) -> None:
        if inbox is not None:
            inbox.task_ended()
            self.tasks.discard(task)
            self._listening.discard(task)
        if not task.cancelled():
            error = task.exception()
            # The loop itself raises those two.
            if error is not None and not isinstance(error, KeyboardInterrupt | SystemExit):
                self._report(error, event)

    def _handle(self, inbox: Inbox, event: Any, task: asyncio.Task[Any]) -> None:
        if task.done():
            self._settle(event, task)
            return
        inbox.handlers[event.request_id] = Running(task)
        self.tasks.add(task)
        task.add_done_callback(partial(self._handled, inbox, event))

    def _handled(self, inbox: Inbox, event: Any, task: asyncio.Task[Any]) -> None:
        running = inbox.handlers.pop(event.request_id, None)
        self.tasks.discard(task)
        self._settle(event, task, late=running is not None and running.late)

    def _settle(self, event: Any, task: asyncio.Task[Any], *, late: bool = False) -> None:
        if task.cancelled():
            if late:
                self._refuse(event, from_wire(InvokeTimeout.wire_code, event.channel, ""))
            else:
                self._raised(event, asyncio.CancelledError())
            return
        error = task.exception()
        if error is None:
            self._answer(event, task.result())
        else:
            self._raised(event, error)

    def _overdue(self, task: asyncio.Task[Any]) -> None:
        if not task.done():
            log.warning(
                "handler of channel %r still runs %g s after it was cancelled", task.get_name(), self._cancel_grace
            )


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _from_thread(future: Awaitable[Any]) -> Any:
    result = await future
    return await result if isawaitable(result) else result
