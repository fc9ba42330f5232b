"""Errors across the context bridge: made anew, as themselves where the table has them, without what they knew."""

import asyncio
import errno
import gc
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import mainbus
import pytest
from mainbus import (
    CloneError,
    InvokeTimeout,
    NoHandlerError,
    RemoteError,
    ReplyNeverSent,
    SendQueueFull,
    register_error,
)
from mainbus.bridged import remade
from mainbus.errors import BUILT_IN
from mainbus.remote import describe, remote_error

from tests.support.worlds import exposed


@register_error
class BridgeOnlyError(Exception):
    """An application's own, which arrives as itself."""


class Unregistered(Exception):
    """An application's own, which does not."""


def raising(error: BaseException) -> Any:
    """Return what the main world gets of a function that raises."""

    def fail() -> None:
        raise error

    return exposed(fail)


def caught(fails: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as info:
        fails()
    return info.value


def instance(cls: type[Exception]) -> Exception:
    if cls is UnicodeDecodeError:
        return UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "invalid start byte")
    if cls is UnicodeEncodeError:
        return UnicodeEncodeError("utf-8", "abc", 2, 3, "no")
    if cls is UnicodeTranslateError:
        return UnicodeTranslateError("abc", 2, 3, "no")
    return cls("some error")


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("cls", BUILT_IN.values())
def test_a_built_in_error_is_made_anew_as_itself(cls: type[Exception]) -> None:
    original = instance(cls)
    error = caught(raising(original))
    assert type(error) is cls
    assert error is not original
    assert str(error) == str(original)
    assert error.args == original.args


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("cls", [StopIteration, StopAsyncIteration, ConnectionResetError, Unregistered, ExceptionGroup])
def test_others_are_remote_errors(cls: type[Exception]) -> None:
    original = cls("some", [ValueError()]) if cls is ExceptionGroup else cls("some")
    error = caught(raising(original))
    assert type(error) is RemoteError
    assert error.type_name.rpartition(".")[2] == cls.__name__
    assert str(error) == f"{error.type_name}: {original}"


@pytest.mark.contract("7.9")
def test_a_registered_error_is_caught_as_itself() -> None:
    error = caught(raising(BridgeOnlyError("mine")))
    assert isinstance(error, BridgeOnlyError)
    assert isinstance(error, RemoteError)


@pytest.mark.contract("7.9")
def test_nothing_of_the_original_comes_along_but_what_crosses_a_process() -> None:
    secret = ["secret"]

    def fail() -> None:
        own_local = secret
        try:
            raise Unregistered(own_local)
        except Unregistered as error:
            outer = OSError(errno.ENOENT, "No such file", "/a")
            outer.code, outer.data, outer.extra = "E", {"a": [1]}, secret  # type: ignore[attr-defined]
            outer.add_note("look here")
            raise outer from error

    error: Any = caught(exposed(fail))
    assert (type(error), error.errno, error.filename) == (FileNotFoundError, errno.ENOENT, "/a")
    assert (error.code, error.data, error.__notes__) == ("E", {"a": [1]}, ["look here"])
    assert not hasattr(error, "extra")
    assert type(error.__cause__) is RemoteError
    assert error.__cause__.type_name == "Unregistered"
    assert error.__context__ is None
    assert "own_local" not in "".join(traceback.format_exception(error))


@pytest.mark.contract("7.9")
def test_the_traceback_is_not_the_originals() -> None:
    error = caught(raising(ValueError()))
    names = {frame.name for frame in traceback.extract_tb(error.__traceback__)}
    assert "fail" not in names
    assert "__call__" in names


def test_an_error_goes_away_without_a_collection() -> None:
    # A built-in one has no weak references.
    fails = raising(BridgeOnlyError())
    kept: list[weakref.ref[BaseException]] = []
    gc.disable()
    try:
        try:
            fails()
        except BridgeOnlyError as error:
            kept.append(weakref.ref(error))
        assert kept[0]() is None
    finally:
        gc.enable()


@pytest.mark.contract("7.9")
def test_a_callbacks_error_reaches_the_one_who_calls_it() -> None:
    seen: list[Exception] = []

    def call(fn: Callable[[], object]) -> None:
        try:
            fn()
        except LookupError as error:
            seen.append(error)
            raise

    original = KeyError("k")

    def fail() -> None:
        raise original

    error = caught(lambda: exposed(call)(fail))
    assert [type(item) for item in (seen[0], error)] == [KeyError, KeyError]
    assert len({id(item) for item in (original, seen[0], error)}) == 3
    assert error.args == ("k",)


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), asyncio.CancelledError("stop")])
def test_what_ends_a_program_or_a_task_is_not_touched(error: BaseException) -> None:
    with pytest.raises(type(error)) as info:
        raising(error)()
    assert info.value is error


MAINBUS_ERRORS = [
    InvokeTimeout("x", 3),
    NoHandlerError("x"),
    ReplyNeverSent("x"),
    SendQueueFull(5),
    CloneError("a", "b"),
]


@pytest.mark.contract("7.9")
@pytest.mark.parametrize("original", MAINBUS_ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_of_mainbus_is_one_again(original: mainbus.MainbusError) -> None:
    original.__cause__ = ValueError("why")
    error = remade(original)
    assert error is not original
    assert type(error) is type(original)
    assert (str(error), error.channel) == (str(original), original.channel)
    assert type(error.__cause__) is ValueError
    assert error.__cause__ is not original.__cause__


@pytest.mark.contract("7.9")
def test_a_handlers_error_is_caught_as_before_the_bridge() -> None:
    told = ValueError("some error")
    told.code = "E"  # type: ignore[attr-defined]
    told.__cause__ = KeyError("k")
    original = remote_error("save", describe(told, traceback=True))
    error = caught(raising(original))
    assert isinstance(error, RemoteError)
    assert isinstance(error, ValueError)
    assert str(error) == "Error invoking remote method 'save': ValueError: some error"
    assert (error.channel, error.type_name, error.remote_message) == ("save", "ValueError", "some error")
    assert (error.code, error.remote_traceback) == ("E", original.remote_traceback)
    assert type(error.cause) is KeyError
