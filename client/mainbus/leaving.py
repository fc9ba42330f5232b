"""The quick way out of a session."""

from __future__ import annotations

from collections.abc import Callable

from mainbus.ownership import Owner
from mainbus.quick import CallsCore
from mainbus.reply import Reply
from mainbus.route_table import RouteTable


class Leaving:
    """The quick way out of a session where nothing is compiled: there is none, and all goes that of `outgoing`.

    Args:
        routes: Its routes.
        calls: Its pending calls.
        cancelled: What is told of a reply that was cancelled.
        owner: Whose thread it is for; in any other nothing is quick.
    """

    def __init__(self, routes: RouteTable, calls: CallsCore, cancelled: Callable[[Reply], None], owner: Owner) -> None:
        pass

    def limit(self, max_message: int, depth: int) -> None:
        """Send within these limits from now on; before that nothing is quick, and nothing again once they are 0."""

    def send(self, target: int | str, channel: str, args: tuple[object, ...], frame: int) -> bool:
        """Send a one-way message, if that can be done at once; False: nothing was done."""
        return False

    def invoke(self, target: int | str, channel: str, args: tuple[object, ...], frame: int) -> Reply | None:
        """Send a request without a deadline, if that can be done at once; None: nothing was done."""
        return None
