"""What stands on the other side of the context bridge for a function, an awaitable or an async iterator.

Whatever goes through them is copied on its way, and an error is made anew.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from enum import Enum
from functools import partial
from threading import RLock
from types import BuiltinMethodType, MethodType
from typing import Any, Final, NoReturn, Self
from weakref import WeakValueDictionary

from mainbus.crossing import Crossing
from mainbus.errors import MainbusError, NoHandlerError, RemoteError, ReplyNeverSent, from_wire
from mainbus.remote import describe, rebuild, remote_error
from mainbus.wire.clone_objects import is_ours

__all__ = ["BridgedFunction", "BridgedStream", "Promise", "World", "cross", "remade"]

# What of a function is shown on the other side.
SHOWN: Final = ("__name__", "__qualname__", "__doc__", "__module__")


class World(Enum):
    """The side of the bridge that exposes, and the one that uses what is exposed."""

    ISOLATED = "isolated"
    MAIN = "main"

    @property
    def other(self) -> "World":
        """The other one."""
        return World.MAIN if self is World.ISOLATED else World.ISOLATED


def cross(value: object, to: World, *, root: str = "result", frozen: bool = False) -> Any:
    """Copy a value from one world to the other.

    Args:
        value: data, functions, awaitables and async iterators, nested in any way.
        to: the world to copy it to.
        root: what the value is called in error texts.
        frozen: whether the copy is read-only.

    Returns:
        The copy.

    Raises:
        CloneError: something in it can be neither cloned nor wrapped.
        LimitExceeded: over a bound.
    """
    return Crossing(partial(_wrap, to=to), frozen=frozen).values([(root, value)])[0]


def remade(error: Exception) -> Exception:
    """Return another error that says the same, as if it had crossed a process boundary.

    An exception of the closed table is of its class again, one of mainbus too, another one a `RemoteError`.
    """
    description = describe(error)
    if not isinstance(error, MainbusError) or (isinstance(error, RemoteError) and error.channel is None):
        again = rebuild(description)
        assert isinstance(again, Exception)
        return again
    if isinstance(error, RemoteError) and not isinstance(error, NoHandlerError | ReplyNeverSent):
        told = {"name": error.type_name, "message": error.remote_message, "traceback": error.remote_traceback}
        return remote_error(error.channel, description | told)
    own = from_wire(error.wire_code, error.channel, str(error))
    if "cause" in description:
        own.__cause__ = rebuild(description["cause"])
    return own


class BridgedFunction:
    """A function of the other world: arguments are copied on their way there, the result on its way back.

    Args:
        function: the original.
        home: the world where it runs.
    """

    _function: Callable[..., Any]
    _home: World

    def __init__(self, function: Callable[..., Any], home: World) -> None:
        vars(self).update(_function=function, _home=home)
        vars(self).update({name: getattr(function, name) for name in SHOWN if hasattr(function, name)})

    def __call__(self, *args: object, **kwargs: object) -> Any:
        """Call it; whether and when it can be called and cancelled is the original's to say."""
        named = [(f"args[{index}]", value) for index, value in enumerate(args)]
        passed = Crossing(partial(_wrap, to=self._home)).values([*named, *kwargs.items()])
        try:
            result = self._function(*passed[: len(args)], **dict(zip(kwargs, passed[len(args) :], strict=True)))
        except Exception as error:  # noqa: BLE001
            failure = [remade(error)]
        else:
            return cross(result, self._home.other)
        # Not in the handler: as its context, the original would cross after all. And not by a name, for the error and
        # the frame in its traceback would keep each other alive.
        raise failure.pop()

    def __repr__(self) -> str:
        return f"<function {getattr(self, '__qualname__', type(self._function).__name__)} across the context bridge>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Cannot assign to read only property {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Cannot delete property {name!r}", name=name, obj=self)

    @property
    def __signature__(self) -> inspect.Signature:
        try:
            return inspect.signature(self._function)
        except (TypeError, ValueError):
            # A built-in one may not tell, and whatever happens in a call is the function's to say.
            return inspect.Signature([inspect.Parameter(name, kind) for name, kind in _ANYTHING])


_ANYTHING: Final = (("args", inspect.Parameter.VAR_POSITIONAL), ("kwargs", inspect.Parameter.VAR_KEYWORD))


class Promise(Coroutine[Any, Any, Any]):
    """A future of the other world: it can be awaited once or more, and given to whatever takes a coroutine.

    Cancelling it, or a task that awaits it, cancels the future. Nothing is lost if it is never awaited. Who awaits it
    waits for the future itself, so what is resumed when is as without the bridge.

    Args:
        future: the original.
        to: the world that awaits it.
    """

    __slots__ = ("_future", "_to")

    def __init__(self, future: "asyncio.Future[Any]", to: World) -> None:
        self._future = future
        self._to = to

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the future; False if it has its outcome already."""
        return self._future.cancel(msg)

    def done(self) -> bool:
        """Tell whether there is an outcome."""
        return self._future.done()

    def __await__(self) -> Generator[Any, None, Any]:
        while not self._future.done():
            try:
                yield self.send(None)
            except Exception as error:
                if not self._is_its_own(error):
                    raise
        return self._outcome()

    # What makes it a coroutine: to each task that drives it, it is the one future that the task waits for.

    def send(self, _: object, /) -> Any:
        """Advance to the next suspension, as a task does with a coroutine."""
        if self._future.done():
            raise StopIteration(self._outcome())
        self._future._asyncio_future_blocking = True
        return self._future

    def throw(self, *args: Any) -> NoReturn:
        """Raise an exception where a task waits for this; a cancellation cancels the future too."""
        error = args[1] if len(args) > 1 and args[1] is not None else args[0]
        if isinstance(error, type):
            error = error()
        if isinstance(error, asyncio.CancelledError):
            # A task that was cancelled before its first step has not waited for the future yet.
            self._future.cancel()
        if self._is_its_own(error):
            self._outcome()
        raise error

    def close(self) -> None:
        """Do nothing: the future goes on, whoever has given up waiting for it."""

    def _is_its_own(self, error: BaseException) -> bool:
        """Tell whether a task throws in what the future has raised, instead of resuming."""
        return self._future.done() and not self._future.cancelled() and self._future.exception() is error

    def _outcome(self) -> Any:
        # Raises if it was cancelled, as awaiting the future would.
        error = self._future.exception()
        if error is None:
            return cross(self._future.result(), self._to)
        raise remade(error) if isinstance(error, Exception) else error


class BridgedStream(AsyncIterator[Any]):
    """An async iterator of the other world; leaving it as a context manager closes it.

    Args:
        items: the original.
        to: the world that iterates.
    """

    __slots__ = ("_items", "_to")

    def __init__(self, items: AsyncIterator[Any], to: World) -> None:
        self._items = items
        self._to = to

    async def __anext__(self) -> Any:
        try:
            item = await self._items.__anext__()
        except StopAsyncIteration:
            raise
        except Exception as error:  # noqa: BLE001
            failure = [remade(error)]
        else:
            return cross(item, self._to, root="item")
        raise failure.pop()

    async def aclose(self) -> None:
        """Close the original, if it can be closed."""
        aclose = getattr(self._items, "aclose", None)
        if aclose is not None:
            await _settled(aclose(), self._to)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


# A function that crosses again while what stands for it is alive is the same one there, so that it can be taken out
# of listeners again. Reentrant: a collection within may run finalisers that cross the bridge themselves.
_functions: "WeakValueDictionary[tuple[World, Any], BridgedFunction]" = WeakValueDictionary()
_lock = RLock()


def _wrap(value: Any, to: World) -> object:
    if isinstance(value, BridgedFunction):
        return value._function if value._home is to else value
    if asyncio.isfuture(value):
        return Promise(value, to)
    cls: Any = type(value)
    if callable(value):
        return None if type in cls.__mro__ else _function(value, to.other)
    if isinstance(value, AsyncIterator):
        return BridgedStream(value, to)
    if inspect.isawaitable(value) and (cls is Promise or not is_ours(cls)):
        return _named(_settled(value, to), value)
    return None


def _function(function: Callable[..., Any], home: World) -> BridgedFunction:
    # A method is another object each time it is looked up; those of one object are equal.
    key = function if isinstance(function, MethodType | BuiltinMethodType) else id(function)
    with _lock:
        known = _functions.get((home, key))
        if known is None:
            known = _functions[home, key] = BridgedFunction(function, home)
        return known


async def _settled(awaitable: Awaitable[Any], to: World) -> Any:
    try:
        result = await awaitable
    except Exception as error:  # noqa: BLE001
        failure = [remade(error)]
    else:
        return cross(result, to)
    raise failure.pop()


def _named(coroutine: Coroutine[Any, Any, Any], original: object) -> Coroutine[Any, Any, Any]:
    """Call it what the original is called, where Python says that nobody awaited it."""
    for name in ("__name__", "__qualname__"):
        if isinstance(text := getattr(original, name, None), str):
            setattr(coroutine, name, text)
    return coroutine
