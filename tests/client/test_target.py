"""Targets: what a callable takes, whether it is a coroutine function, its one call."""

import functools
import inspect
import re
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from mainbus.errors import ValidationError
from mainbus.target import Target

ANY = sys.maxsize


def plain(event: object, a: int, b: int = 2) -> None: ...
def variadic(event: object, a: int, *rest: int) -> None: ...
def only_variadic(*args: object) -> None: ...
def positional_only(event: object, a: int, /) -> None: ...
def optional_event(event: object = None) -> None: ...
def keyworded(event: object, *, flag: bool = True, **rest: object) -> None: ...
async def coroutine(event: object, a: int) -> None: ...


async def generator(event: object) -> AsyncIterator[int]:
    yield 1


@functools.wraps(plain)
def wrapper(*args: Any) -> Any: ...


@functools.wraps(only_variadic)
def narrow_wrapper(event: object) -> Any: ...


class Owner:
    def __init__(self, event: object = None, a: int = 1) -> None: ...
    def __call__(self, event: object, a: int) -> None: ...
    def method(self, event: object, a: int) -> None: ...
    async def async_method(self, event: object) -> None: ...

    @classmethod
    def of_class(cls, event: object) -> None: ...

    @staticmethod
    def static(event: object, a: int = 1) -> None: ...

    partial = functools.partialmethod(method, a=1)


class AsyncCallable:
    async def __call__(self, event: object) -> None: ...


class Meta(type):
    async def __call__(cls, event: object) -> None: ...


class Awaited(metaclass=Meta): ...


ARITIES: list[tuple[Callable[..., Any], int, int]] = [
    (plain, 1, 2),
    (variadic, 1, ANY),
    (only_variadic, 0, ANY),
    (positional_only, 1, 1),
    (optional_event, 0, 0),
    (keyworded, 0, 0),
    (coroutine, 1, 1),
    (generator, 0, 0),
    (lambda event: None, 0, 0),
    (wrapper, 0, ANY),
    (narrow_wrapper, 0, 0),
    (Owner, 0, 1),
    (Owner(), 1, 1),
    (Owner().method, 1, 1),
    (Owner.of_class, 0, 0),
    (Owner.static, 0, 1),
    (Owner().partial, 0, 0),
    (functools.partial(plain, "event"), 0, 1),
    (functools.partial(plain, b=3), 1, 1),
    (functools.partial(functools.partial(plain, "event"), 1), 0, 0),
    (functools.partial(Owner().method, a=1), 0, 0),
    (AsyncCallable(), 0, 0),
    (Awaited, 0, 0),
    (print, 0, ANY),
    (len, 0, 0),
    (max, 0, ANY),
    (int, 0, ANY),
    ({}.update, 0, ANY),
]


@pytest.mark.contract("2.9")
@pytest.mark.parametrize(("fn", "least", "most"), ARITIES, ids=lambda value: getattr(value, "__name__", None))
def test_arity(fn: Callable[..., Any], least: int, most: int) -> None:
    target = Target(fn, validate=False)
    assert (target.least, target.most) == (least, most)
    assert target.fn is fn
    for count in {least, min(most, least + 1), most}:
        args = range(count)
        assert target.fit(args) is args
    for count in ({least - 1} if least else set()) | ({most + 1} if most < ANY else set()):
        with pytest.raises(ValidationError):
            target.fit(range(count))


@pytest.mark.contract("2.5")
@pytest.mark.parametrize(
    ("value", "name"),
    [(3, "int"), (None, "NoneType"), ("f", "str"), (object(), "object")],
    ids=["int", "NoneType", "str", "object"],
)
def test_not_callable(value: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"^Expected handler to be a function, but found type '{name}'$"):
        Target(value)


def no_arguments() -> None: ...
def only_keywords(**rest: object) -> None: ...
def required_keyword(event: object, *, flag: bool) -> None: ...


class Forgetful:
    method: Any = no_arguments


@pytest.mark.contract("2.5")
@pytest.mark.parametrize(
    "fn",
    [
        no_arguments,
        only_keywords,
        required_keyword,
        Forgetful().method,
        Forgetful,
        lambda: None,
        functools.partial(coroutine, "event", 1),
    ],
    ids=range(7),
)
def test_cannot_take_the_event(fn: Callable[..., Any]) -> None:
    with pytest.raises(TypeError, match=r"^Expected handler to take \(event, \*args\), but .*\(\) "):
        Target(fn)


@pytest.mark.contract("2.9")
@pytest.mark.parametrize(
    ("fn", "count", "text"),
    [
        (plain, 0, "plain() (test_target.py:N) takes from 1 to 2 arguments (a, b) after the event, but 0 were sent"),
        (plain, 3, "plain() (test_target.py:N) takes from 1 to 2 arguments (a, b) after the event, but 3 were sent"),
        (optional_event, 1, "optional_event() (test_target.py:N) takes no arguments after the event, but 1 was sent"),
        (Owner().method, 2, "Owner.method() (test_target.py:N) takes 1 argument (a) after the event, but 2 were sent"),
        (Owner, 3, "Owner() (test_target.py:N) takes from 0 to 1 argument (a) after the event, but 3 were sent"),
        (Owner(), 0, "Owner() (test_target.py:N) takes 1 argument (a) after the event, but 0 were sent"),
        (functools.partial(plain, b=3), 2, "plain() (test_target.py:N) takes 1 argument (a) after the event, but 2 we"),
        (lambda event, a, *b: None, 0, "<lambda>() (test_target.py:N) takes at least 1 argument (a, ...) after the ev"),
        (narrow_wrapper, 2, "only_variadic() (test_target.py:N) takes no arguments after the event, but 2 were sent"),
        (ord, 2, "ord() takes no arguments after the event, but 2 were sent"),
    ],
    ids=range(10),
)
def test_arity_error_names_the_callable_and_what_it_takes(fn: Callable[..., Any], count: int, text: str) -> None:
    target = Target(fn)
    with pytest.raises(ValidationError) as error:
        target.fit(range(count))
    assert re.sub(r":\d+\)", ":N)", str(error.value)).startswith(text)
    with pytest.raises(ValidationError) as invoked:
        target.fit(range(count), "x")
    assert str(invoked.value) == f"Error invoking remote method 'x': {error.value}"


def test_arity_error_names_the_line() -> None:
    line = inspect.getsourcelines(plain)[1]
    with pytest.raises(ValidationError, match=re.escape(f" (test_target.py:{line}) ")):
        Target(plain).fit(())


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (coroutine, True),
        (functools.partial(coroutine, a=1), True),
        (functools.partial(functools.partial(coroutine), a=1), True),
        (Owner().async_method, True),
        (functools.partial(Owner().async_method), True),
        (AsyncCallable(), True),
        (functools.partial(AsyncCallable()), True),
        (Awaited, True),
        (plain, False),
        (generator, True),
        (Owner, False),
        (Owner(), False),
        (AsyncCallable, False),
        (lambda event: coroutine(event, 1), False),
        (print, False),
        (int, False),
        (functools.wraps(coroutine)(lambda event: None), False),
    ],
    ids=range(17),
)
def test_is_coroutine(fn: Callable[..., Any], expected: bool) -> None:
    if fn is AsyncCallable:
        fn = type("Takes", (AsyncCallable,), {"__init__": lambda self, event: None})
    assert Target(fn).is_coroutine is expected


if sys.version_info >= (3, 12):

    def test_a_marked_function_is_a_coroutine_function() -> None:
        marked = inspect.markcoroutinefunction(lambda event: coroutine(event, 1))
        assert Target(marked).is_coroutine
        assert Target(functools.partial(marked)).is_coroutine


@pytest.mark.contract("2.10")
def test_thread_is_for_plain_functions() -> None:
    assert Target(plain, thread=True).thread
    assert not Target(plain).thread
    with pytest.raises(
        TypeError, match=r"thread=True is for plain functions, but coroutine\(\) is a coroutine function"
    ):
        Target(coroutine, thread=True)


@pytest.mark.contract("3.2")
def test_senders() -> None:
    for senders in ("main", "renderers", "any"):
        assert Target(plain, senders=senders).senders == senders
    assert Target(plain).senders == "any"
    with pytest.raises(ValueError, match="Expected senders to be 'main', 'renderers' or 'any', but found 'all'"):
        Target(plain, senders="all")  # type: ignore[arg-type]


@pytest.mark.contract("2.6")
def test_consume_is_had_once_and_takes_it_out() -> None:
    discarded: list[int] = []
    target = Target(plain, once=True)
    target.on_consume(lambda: discarded.append(1))
    assert target.consume()
    assert discarded == [1]
    assert not target.consume()
    assert discarded == [1]
    assert Target(plain, once=True).consume()
