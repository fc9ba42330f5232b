"""What `mainbus serve module:attribute` names: found, imported, and looked at."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
import traceback
import typing
from contextlib import suppress
from types import ModuleType
from typing import Any, Final

from mainbus_broker.broker import Broker
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.daemon import Setup
from mainbus_broker.ipc_main import IpcMain

_EXPECTED: Final = "expected an IpcMain or a function setup(broker)"


def load(text: str) -> IpcMain | Setup:
    """Import what is to be served; modules of the current folder are found first.

    Args:
        text: "module:attribute"; both may be dotted.

    Raises:
        Failure: There is no such thing, or it is nothing to serve; one line that says what was found. If the module
            itself raises, its traceback stands before that line.
    """
    name, colon, path = text.partition(":")
    if not (colon and _is_dotted(name) and _is_dotted(path)):
        raise _failure(text, "expected module:attribute, such as app:ipc_main")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    module = _import(text, name)
    found: Any = module
    for part in path.split("."):
        if not hasattr(found, part):
            raise _failure(text, f"{_what(found)} has no attribute {part!r}; {_offers(module)}")
        found = getattr(found, part)
    return _checked(text, found)


def _import(text: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise _failure(text, f"no module {error.name!r} in {os.getcwd()} or on sys.path{_meant(text)}") from None
        raise _raised(text, name, error) from error
    except (Exception, SystemExit) as error:
        raise _raised(text, name, error) from error


def _meant(text: str) -> str:
    """Say what was meant by the name of a file in place of a module."""
    name, _, path = text.partition(":")
    return f"; did you mean {name.removesuffix('.py')}:{path}?" if name.endswith(".py") else ""


def _raised(text: str, name: str, error: BaseException) -> Failure:
    # From the application's own first line on: how it came to be imported helps nobody.
    at = error.__traceback__
    while at is not None and _is_machinery(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    traceback.print_exception(error.with_traceback(at))
    return _failure(text, f"importing {name} raised {type(error).__name__}: {error}")


def _is_machinery(filename: str) -> bool:
    return filename.startswith("<frozen importlib") or filename in (__file__, importlib.__file__)


def _checked(text: str, found: Any) -> IpcMain | Setup:
    if isinstance(found, IpcMain):
        return found
    if not callable(found) or inspect.isclass(found):
        raise _failure(text, f"it is {_what(found)}; {_EXPECTED}")
    if inspect.isgeneratorfunction(found) or inspect.isasyncgenfunction(found):
        raise _failure(text, f"{_what(found)} yields, so that calling it does nothing; {_EXPECTED}")
    with suppress(ValueError):  # a compiled function that does not tell its parameters: calling it will
        _check_parameters(text, found, inspect.signature(found))
    setup: Setup = found
    return setup


def _check_parameters(text: str, found: Any, signature: inspect.Signature) -> None:
    first = next(iter(signature.parameters), None)
    if first is None:
        raise _failure(text, f"{_what(found)} takes no argument, expected setup(broker)")
    if first.lstrip("_") == "event" or not _takes_a_broker(found, first):
        said = f"{_what(found)} takes {signature.parameters[first]}, as a listener or handler does, not the broker"
        raise _failure(text, f"{said}; {_EXPECTED}")
    try:
        signature.bind(None)
    except TypeError as error:
        raise _failure(text, f"{_what(found)} cannot be called with the broker: {error}; {_EXPECTED}") from None


def _takes_a_broker(found: Any, name: str) -> bool:
    """Whether the annotation of a parameter, if it is a class, is one that a broker is of."""
    try:
        hint = typing.get_type_hints(found).get(name)
    except Exception:  # noqa: BLE001 - what exists for type checkers only says nothing here
        return True
    return not inspect.isclass(hint) or issubclass(Broker, hint)


def _offers(module: ModuleType) -> str:
    found = [name for name, item in vars(module).items() if isinstance(item, IpcMain)]
    if inspect.isfunction(vars(module).get("setup")):
        found.append("setup")
    return f"it has {', '.join(found)}" if found else f"it has no IpcMain and no function named setup; {_EXPECTED}"


def _what(found: Any) -> str:
    if inspect.ismodule(found):
        return f"module {found.__name__}"
    if inspect.isclass(found):
        return f"the class {found.__name__}"
    if inspect.isroutine(found):
        return f"function {getattr(found, '__name__', '?')}"
    kind = type(found).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _failure(text: str, reason: str) -> Failure:
    return Failure(f"cannot serve {text!r}: {reason}", ExitCode.TARGET)
