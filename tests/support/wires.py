"""A connection that does what a test says with what was fed to it."""

from __future__ import annotations

from collections.abc import Callable

from mainbus.wire.connection import Connection
from mainbus.wire.states import Role, State


class Wire(Connection):
    """Keeps in `fed` what nobody has taken at once, and calls `then`."""

    __slots__ = ("fed", "then")

    def __init__(self, role: Role) -> None:
        super().__init__(role, 1000, State.OPEN)
        self.fed: list[bytes] = []
        self.then: Callable[[], object] | None = None

    def feed(self, data: bytes) -> None:
        self.fed.append(data)
        if self.then is not None:
            self.then()
