"""Names and ids of renderers."""

from __future__ import annotations

from typing import Final

from mainbus.wire.packets import MAIN, MAX_U32

_NAMES_KEPT: Final = 4096

_names: set[str] = set()
"""Names that were found right, for those who send to the same ones again and again."""


def check_name(name: str, what: str = "renderer") -> str:
    """Return a name if it can be that of a renderer, or of what else there is.

    Raises:
        TypeError: It is no str.
        ValueError: It has not 1 to 255 bytes of UTF-8.
    """
    if not isinstance(name, str):
        raise TypeError(f"Expected name to be a str, but found type {type(name).__name__!r}")
    if not 1 <= len(name.encode("utf-8", "replace")) <= 255 or any("\ud800" <= char <= "\udfff" for char in name):
        raise ValueError(f"Expected a {what}'s name of 1 to 255 bytes of UTF-8, but found {name!r}")
    return name


def check_target(target: int | str) -> tuple[int, str | None]:
    """Return a target as its id, or as 0 and its name.

    Raises:
        TypeError: It is neither an id nor a name.
        ValueError: No renderer can have that id or name.
    """
    if isinstance(target, str):
        if target in _names:
            return MAIN, target
        name = check_name(target)
        if len(_names) >= _NAMES_KEPT:
            _names.clear()
        _names.add(name)
        return MAIN, name
    if isinstance(target, bool) or not isinstance(target, int):
        raise TypeError(f"Expected target to be a renderer's id or name, but found type {type(target).__name__!r}")
    if not 0 <= target <= MAX_U32:
        raise ValueError(f"Expected a renderer's id, but found {target}")
    return target, None
