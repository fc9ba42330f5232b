"""What a log shows of an exception of the application: from the application's own first line on."""

from __future__ import annotations

from types import TracebackType
from typing import Final, TypeAlias

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]

_OURS: Final = frozenset({"mainbus", "mainbus_broker", "asyncio", "concurrent"})
"""Packages that only call the application; what they do after it has called them stays."""


def user_frames(error: BaseException) -> ExcInfo:
    """Return `exc_info` for a log: how the application came to be called helps nobody. The error is not changed."""
    at = error.__traceback__
    while at is not None and at.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        at = at.tb_next
    return type(error), error, at
