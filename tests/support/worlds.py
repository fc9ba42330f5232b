"""The context bridge in tests: what was exposed, and both ways of a call; nothing stays in the main world."""

from collections.abc import Callable
from itertools import count
from typing import Any

from mainbus import context_bridge, main_world

_numbers = count()


def exposed(api: object) -> Any:
    """Expose an API, and return what the main world has of it; the key is free again at once."""
    key = f"test{next(_numbers)}"
    context_bridge.expose_in_main_world(key, api)
    return vars(main_world).pop(key)


def result_of(value: object) -> Any:
    """Return what the main world gets of a function that returns the value."""
    return exposed(lambda: value)()


def argument(value: object) -> Any:
    """Return what the isolated world gets of a value that the main world passes."""
    got: list[object] = []
    exposed(got.append)(value)
    return got[0]


WAYS: list[Callable[[object], Any]] = [result_of, argument]
