"""A registered callable of a channel, with all that calling it needs to know, resolved once."""

import functools
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, get_args

from mainbus.errors import ValidationError
from mainbus.quick import TargetCore
from mainbus.validation import Misfit, Parameters, parameters_of

__all__ = ["SENDERS", "Senders", "Target"]

Senders = Literal["main", "renderers", "any"]
"""Whose messages a renderer's callable gets."""

SENDERS: Final[tuple[str, ...]] = get_args(Senders)


class Target(TargetCore):
    """A listener or handler.

    Args:
        fn: the callable; it is called with the event and the message's arguments.
        once: it is for one message only.
        thread: it runs in a worker thread.
        senders: whose messages it gets.
        validate: check what is sent against the annotations.

    Attributes:
        least: the fewest arguments it takes, the event not counted.
        most: the most, ``sys.maxsize`` if there is no bound.
        annotated: what is to be checked of its arguments; None if there is nothing.
        is_coroutine: calling it runs none of its body: a coroutine function or an async generator function.

    Raises:
        TypeError: not callable, cannot take the event, a coroutine or generator function in a thread, or annotated with
            what cannot be checked.
        ValueError: not one of `SENDERS`.
    """

    __slots__ = (
        "_discard",
        "_spent",
        "annotated",
        "is_coroutine",
        "once",
        "senders",
        "thread",
    )

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        once: bool = False,
        thread: bool = False,
        senders: Senders = "any",
        validate: bool = True,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"Expected handler to be a function, but found type {type(fn).__name__!r}")
        self.once = once
        self.thread = thread
        self.senders = check_senders(senders)
        parameters = _parameters(fn)
        least, most = _arity(fn, parameters)
        self.is_coroutine = _runs_as(fn, inspect.iscoroutinefunction) or _runs_as(fn, inspect.isasyncgenfunction)
        if thread and self.is_coroutine:
            kind = "a coroutine" if _runs_as(fn, inspect.iscoroutinefunction) else "an async generator"
            raise TypeError(f"thread=True is for plain functions, but {name_of(fn)}() is {kind} function")
        self.annotated = _annotated(fn, parameters) if validate else None
        is_plain = not (once or thread or self.is_coroutine or self.annotated is not None)
        super().__init__(fn, least, most, is_plain, senders != "renderers", senders != "main")
        self._spent = False
        # Takes it out of its registry; set for a `once` only.
        self._discard: Callable[[], object] | None = None

    def on_consume(self, discard: Callable[[], object]) -> None:
        """Say how this one is taken out of its registry when its one call comes."""
        self._discard = discard

    def consume(self) -> bool:
        """Take out a `once` right before its call; False if its one call was had already."""
        if self._spent:
            return False
        self._spent = True
        if self._discard is not None:
            self._discard()
            self._discard = None
        return True

    def fit(self, args: Sequence[object], invoked: str | None = None) -> Sequence[object]:
        """Return the arguments as it is to be called with them, behind the event.

        Args:
            args: what was sent.
            invoked: the channel, if its caller waits for a result.

        Raises:
            ValidationError: too few, too many, or one that does not fit its annotation.
        """
        if not self.least <= len(args) <= self.most:
            raise self._error(invoked, f" takes {self._takes()} after the event, but {_were_sent(len(args))}")
        if self.annotated is None:
            return args
        try:
            return self.annotated.fit(args)
        except Misfit as misfit:
            said = f": {misfit}"
            raise self._error(invoked, said, parameter=misfit.parameter, path=misfit.path) from None

    def _error(self, invoked: str | None, said: str, **where: str) -> ValidationError:
        said = f"{name_of(self.fn)}(){_place(self.fn)}{said}"
        return ValidationError(
            said if invoked is None else f"Error invoking remote method '{invoked}': {said}", **where
        )

    def _takes(self) -> str:
        names = [parameter.name for parameter in _positional(_parameters(self.fn))[1:]]
        if not self.most:
            return "no arguments"
        if self.most == sys.maxsize:
            return f"at least {self.least} argument{'' if self.least == 1 else 's'} ({', '.join(names)}, ...)"
        bounds = str(self.most) if self.least == self.most else f"from {self.least} to {self.most}"
        return f"{bounds} argument{'' if self.most == 1 else 's'} ({', '.join(names)})"


def check_senders(senders: Senders) -> Senders:
    """Return the value if it is one of `SENDERS`.

    Raises:
        ValueError: it is not.
    """
    if senders not in SENDERS:
        raise ValueError(f"Expected senders to be 'main', 'renderers' or 'any', but found {senders!r}")
    return senders


def name_of(fn: Callable[..., Any]) -> str:
    """Name a callable as Python's own errors do."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return getattr(fn, "__qualname__", None) or type(fn).__qualname__


def _were_sent(count: int) -> str:
    return f"{count} {'was' if count == 1 else 'were'} sent"


def _place(fn: Callable[..., Any]) -> str:
    """Say where a callable is defined, if that is known; without the folder, for strangers read it too."""
    code = getattr(_function(fn), "__code__", None)
    return "" if code is None else f" ({os.path.basename(code.co_filename)}:{code.co_firstlineno})"


def _function(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return what a callable comes down to: where it is written."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    fn = inspect.unwrap(fn)
    if inspect.isclass(fn):
        return fn.__init__
    return fn if inspect.isroutine(fn) else type(fn).__call__


def _annotated(fn: Callable[..., Any], parameters: list[inspect.Parameter] | None) -> Parameters | None:
    """Resolve the annotations of what comes behind the event."""
    rest = [parameter for parameter in parameters or () if parameter.kind is parameter.VAR_POSITIONAL]
    try:
        return parameters_of(_function(fn), _positional(parameters)[1:] + rest)
    except TypeError as error:
        raise TypeError(
            f"{name_of(fn)}(){_place(fn)}: {error}. With validate=False it takes whatever is sent"
        ) from error


def _parameters(fn: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """None: a compiled callable that does not tell."""
    try:
        # What is called is the wrapper: it may well take more or less than the function that it wraps.
        return list(inspect.signature(fn, follow_wrapped=False).parameters.values())
    except ValueError:
        if inspect.ismethod(fn):
            raise TypeError(
                f"Expected handler to take (event, *args), but {name_of(fn)}() does not take self"
            ) from None
        return None


def _positional(parameters: list[inspect.Parameter] | None) -> list[inspect.Parameter]:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [parameter for parameter in parameters or () if parameter.kind in kinds]


def _arity(fn: Callable[..., Any], parameters: list[inspect.Parameter] | None) -> tuple[int, int]:
    """The fewest and the most arguments after the event."""
    if parameters is None:
        return 0, sys.maxsize
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            raise TypeError(
                f"Expected handler to take (event, *args), but {name_of(fn)}() requires the keyword {parameter.name!r}"
            )
    positional = _positional(parameters)
    required = sum(parameter.default is parameter.empty for parameter in positional)
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return max(required - 1, 0), sys.maxsize
    if not positional:
        raise TypeError(f"Expected handler to take (event, *args), but {name_of(fn)}() takes no positional arguments")
    return max(required - 1, 0), len(positional) - 1


def _runs_as(fn: Callable[..., Any], is_kind: Callable[[object], bool]) -> bool:
    """Whether what runs when a callable is called is a function of some kind."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    # The other one is an object with an async __call__. A class is called by its metaclass, whatever its instances do.
    return is_kind(fn) or is_kind(type(fn).__call__)
