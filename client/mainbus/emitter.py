"""Events of our own objects, with Node's semantics; channels have a registry apart (``mainbus.channels``)."""

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar, overload

from mainbus.listeners import Listeners
from mainbus.registration import Registration

__all__ = ["Emitter"]

F = TypeVar("F", bound=Callable[..., object])

log = logging.getLogger("mainbus")

# The loop holds its tasks weakly: a coroutine listener's is held here until it is done.
_running: Final[set[asyncio.Task[None]]] = set()


class _Listener:
    __slots__ = ("fn", "once", "spent")

    def __init__(self, fn: Callable[..., object], once: bool) -> None:
        self.fn = fn
        self.once = once
        self.spent = False  # a `once` whose one call has begun; snapshots may still hold it


class Emitter:
    """Calls the listeners of named events: in the order of registration, from a snapshot, one's error no other's.

    Args:
        events: the names there are; None admits any.
        on_error: called with error and event when a listener raises; without it the error is logged.
    """

    __slots__ = ("_events", "_listeners", "_on_error")

    def __init__(
        self,
        events: frozenset[str] | None = None,
        *,
        on_error: Callable[[BaseException, str], object] | None = None,
    ) -> None:
        self._events = events
        self._on_error = on_error
        self._listeners: Listeners[_Listener] = Listeners()

    # Public

    @overload
    def on(self, event: str, fn: None = None) -> Callable[[F], F]: ...
    @overload
    def on(self, event: str, fn: Callable[..., object]) -> Registration: ...
    def on(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with the arguments of every such event.

        The result of a coroutine function runs as a task, which needs a running loop.

        Args:
            event: the event's name.
            fn: the listener; registered twice it is called twice.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: no such event.
            TypeError: not callable.
        """
        return self._add(event, fn, once=False)

    @overload
    def once(self, event: str, fn: None = None) -> Callable[[F], F]: ...
    @overload
    def once(self, event: str, fn: Callable[..., object]) -> Registration: ...
    def once(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function at the next such event only; it is taken out before it is called. Else as `on`."""
        return self._add(event, fn, once=True)

    def off(self, event: str, fn: Callable[..., object]) -> None:
        """Take out the latest registration of a function; an emit under way still calls it.

        Raises:
            ValueError: no such event.
        """
        self._check(event)
        self._listeners.remove_latest(event, fn)

    def remove_all_listeners(self, event: str | None = None) -> None:
        """Take out all listeners of an event; of every event, if it is None.

        Raises:
            ValueError: no such event.
        """
        if event is not None:
            self._check(event)
        self._listeners.clear(event)

    def listener_count(self, event: str) -> int:
        """Return how many listeners an event has.

        Raises:
            ValueError: no such event.
        """
        self._check(event)
        return len(self._listeners.get(event))

    def emit(self, event: str, *args: object) -> bool:
        """Call the listeners of an event.

        Returns:
            Whether it had any.

        Raises:
            ValueError: no such event.
        """
        listeners = self._listeners.get(event)
        if not listeners:
            self._check(event)
            return False
        for listener in listeners:
            if not listener.once:
                self._call(event, listener.fn, args)
            elif not listener.spent:
                listener.spent = True
                self._listeners.remove(event, listener)
                self._call(event, listener.fn, args)
        return True

    add_listener = on
    remove_listener = off

    # Private

    def _add(self, event: str, fn: Callable[..., object] | None, *, once: bool) -> Callable[[F], F] | Registration:
        self._check(event)

        def register(fn: F) -> F:
            self._register(event, fn, once)
            return fn

        return register if fn is None else self._register(event, fn, once)

    def _register(self, event: str, fn: Callable[..., object], once: bool) -> Registration:
        if not callable(fn):
            raise TypeError(f"Expected listener to be a function, but found type {type(fn).__name__!r}")
        listener = _Listener(fn, once)
        self._listeners.add(event, listener)
        return Registration(lambda: self._listeners.remove(event, listener))

    def _check(self, event: str) -> None:
        if self._events is not None and event not in self._events:
            raise ValueError(f"Unknown event {event!r}; known are {', '.join(map(repr, sorted(self._events)))}")

    def _call(self, event: str, fn: Callable[..., object], args: tuple[object, ...]) -> None:
        try:
            result = fn(*args)
            if result is not None and inspect.isawaitable(result):
                _start(self._finish(event, result), result)
        # Nobody cancels a plain call: a CancelledError is one that the listener took out of some future.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            self._report(error, event)

    async def _finish(self, event: str, awaitable: Awaitable[object]) -> None:
        try:
            await awaitable
        except Exception as error:  # noqa: BLE001
            self._report(error, event)

    def _report(self, error: BaseException, event: str) -> None:
        try:
            if self._on_error is not None:
                self._on_error(error, event)
                return
        except Exception:
            log.exception("on_error of the event %r raised, called with %r", event, error)
            return
        log.error("a listener of the event %r raised", event, exc_info=error)


def _start(coroutine: Coroutine[Any, Any, None], awaitable: Awaitable[object]) -> None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # Neither will ever be awaited.
        coroutine.close()
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise
    task = loop.create_task(coroutine)
    _running.add(task)
    task.add_done_callback(_running.discard)
