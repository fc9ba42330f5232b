"""Well-behaved renderers that must notice nothing of what others do, and what a broker has logged about those."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.bus import Bus, within


@asynccontextmanager
async def bystanders(bus: Bus, *, gap: bool = False) -> AsyncIterator[None]:
    """Two well-behaved renderers, which must notice nothing of what happens inside.

    Args:
        bus: Where they are.
        gap: Whether something was sent to them by who died then.
    """
    events: list[tuple[object, ...]] = []
    one, other = await bus.renderer("one"), await bus.renderer("other")
    other.handle("double", lambda event, number: 2 * number, senders="renderers")
    for renderer in (one, other):
        for event in ("disconnected", "reconnected", "gap", "undeliverable", "message-error"):
            renderer.events.on(event, lambda *told, event=event: events.append((event, *told)))
    assert await within(one.invoke_to("other", "double", 1)) == 2
    yield
    assert await within(one.invoke_to("other", "double", 21)) == 42
    assert await within(other.invoke("bus:ping")) is None
    assert {event for event, *_ in events} == ({"gap"} if gap else set())


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the broker has logged that somebody should read."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
