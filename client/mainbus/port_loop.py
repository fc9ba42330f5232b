"""What the ports of one loop share: its thread, and how their listeners run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mainbus.dispatch import Dispatch
from mainbus.ownership import Owner
from mainbus.port_end import End

if TYPE_CHECKING:
    from mainbus.ports import MessagePort

_GRACE: Final = 5.0

log = logging.getLogger("mainbus")


class PortLoop:
    """The loop that ports belong to.

    Args:
        loop: The loop on whose thread all of it happens.
        make: Makes the handle of an end.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, make: Callable[[End], MessagePort]) -> None:
        self.loop = loop
        self.owner = Owner("this port")
        self.call_soon = loop.call_soon
        self.handle = make
        self.dispatch = Dispatch(
            loop, answer=_never, item=_never, raised=_never, refuse=_never, report=_report, cancel_grace=_GRACE
        )

    def new_end(self) -> End:
        """Make an end of a channel."""
        return End(self)

    def drop(self, end: End) -> None:
        """Close an end whose handle is gone. Any thread may call it: finalisers do."""
        if not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(end.dropped)
            except RuntimeError:
                log.debug("a port was dropped while its loop was being closed")


_loops: Final[dict[asyncio.AbstractEventLoop, PortLoop]] = {}


def running(make: Callable[[End], MessagePort]) -> PortLoop:
    """Return what the ports of the running loop share.

    Raises:
        RuntimeError: No loop runs in this thread.
    """
    loop = asyncio.get_running_loop()
    found = _loops.get(loop)
    if found is None:
        for former in [former for former in list(_loops) if former.is_closed()]:
            _loops.pop(former, None)
        found = _loops[loop] = PortLoop(loop, make)
    return found


def _report(error: BaseException, event: Any) -> None:
    log.error("a listener of a port failed on a message", exc_info=error)


def _never(*_: object) -> NoReturn:
    raise AssertionError("a port has no handlers")
