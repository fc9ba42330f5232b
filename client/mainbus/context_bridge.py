"""The context bridge: a small, frozen API for the rest of the program. It keeps an API small; **it is no sandbox**.

The code that exposes is Electron's preload script; the code that reads `main_world` is the page.
"""

from keyword import iskeyword
from threading import Lock
from typing import Any, NoReturn

from mainbus.bridged import World, cross

__all__ = ["MainWorld", "expose_in_main_world", "main_world"]

_lock = Lock()


class MainWorld:
    """What has been exposed in this process, each API under its key as an attribute; ``dir`` lists the keys.

    There is one, `main_world`, Electron's ``window``. Nothing can be set on it or taken from it.
    """

    def __getattr__(self, name: str) -> Any:
        there = f"there are: {', '.join(dir(self))}" if dir(self) else "nothing has been exposed yet"
        raise AttributeError(f"The main world has no {name!r}; {there}", name=name, obj=self)

    def __dir__(self) -> list[str]:
        return sorted(vars(self))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"Cannot assign to read only property {name!r}", name=name, obj=self)

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"Cannot delete property {name!r}", name=name, obj=self)


main_world = MainWorld()


def expose_in_main_world(key: str, api: object) -> None:
    """Expose an API as ``main_world.<key>``, Electron's ``contextBridge.exposeInMainWorld``.

    It keeps an API small; **it is no sandbox**: all of it is one process and one Python, and who looks for the
    originals finds them. Untrusted code belongs in a renderer process of its own, with a role.

    Functions are wrapped both ways. Their arguments and results are copied by the rules of structured clone, in which
    there may be functions too: callbacks are wrapped in turn. What is awaitable stays so, an async iterator stays one.
    An exception arrives as one that crossed a process would: another object, without the traceback. Everything
    else is copied now and frozen: dicts as read-only dicts whose members are attributes too, lists as read-only lists,
    sets as frozensets, dataclasses and namespaces like dicts. What is shared stays shared, and cycles stay cycles.

    Safe to call from any thread.

    Args:
        key: an identifier.
        api: a dict, a ``types.SimpleNamespace``, a dataclass or anything else that can cross.

    Raises:
        TypeError: the key is no text.
        ValueError: the key is no identifier, or the main world has it already.
        CloneError: something in the API can be neither cloned nor wrapped.
        LimitExceeded: the API is nested deeper than 1,000 levels.
    """
    if not isinstance(key, str):
        raise TypeError(f"Expected the key to be a string, but found type '{type(key).__name__}'")
    if not key.isidentifier() or iskeyword(key):
        raise ValueError(f"The key {key!r} cannot be an attribute of main_world")
    _check_free(key)
    # Not under the lock: properties of the application's may run here, and expose something themselves.
    exposed = cross(api, World.MAIN, root=key, frozen=True)
    with _lock:
        _check_free(key)
        vars(main_world)[key] = exposed


def _check_free(key: str) -> None:
    if key in vars(main_world) or hasattr(MainWorld, key):
        raise ValueError("Cannot bind an API on top of an existing property on the window object")
