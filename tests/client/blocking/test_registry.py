"""Registering from many threads loses nothing, and behaves as on a loop."""

import sys
from collections.abc import Iterator

import pytest
from mainbus.blocking.registry import LockedChannels, LockedEvents

from tests.support.threads import in_thread


@pytest.fixture
def _busy_threads() -> Iterator[None]:
    """Let threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.contract("3.14")
@pytest.mark.usefixtures("_busy_threads")
def test_threads_do_not_undo_each_other() -> None:
    channels = LockedChannels()
    handled: list[int] = []

    def register(thread: int) -> None:
        for number in range(200):
            with channels.on("x", lambda event: None):
                channels.on("x", register)
                channels.off("x", register)
            channels.once("x", register)
            try:
                channels.handle(f"handler {number}", lambda event: thread)
                handled.append(number)
            except ValueError:
                pass
            channels.channels()

    for wait in [in_thread(lambda thread=thread: register(thread)) for thread in range(4)]:  # type: ignore[misc]
        wait()
    assert channels.listener_count("x") == 800
    assert sorted(handled) == list(range(200))
    channels.remove_all_listeners("x")
    channels.remove_handler("handler 0")
    assert (channels.listener_count("x"), channels.handler("handler 0")) == (0, None)


@pytest.mark.contract("3.14", "2.3", "2.4")
def test_decorators_and_second_handlers() -> None:
    channels = LockedChannels()

    @channels.handle("x", senders="any")
    def first(event: object) -> None: ...

    @channels.on("x")
    def listener(event: object) -> None: ...

    assert [target.fn for target in channels.listeners("x")] == [listener]
    with pytest.raises(ValueError, match="second handler for 'x'"):
        channels.handle("x", first)
    with channels.handle("x", listener, replace=True):
        assert channels.handler("x").fn is listener  # type: ignore[union-attr]
    assert channels.handler("x") is None


def test_events_say_when_somebody_wants_to_know_of_peers() -> None:
    asked: list[int] = []

    class Renderer:
        def _watch(self) -> None:
            asked.append(1)

    events = LockedEvents(Renderer())
    events.on("gap", lambda: None)
    assert asked == []
    events.on("peer-left", lambda id, name: asked.append(id))
    assert asked == [1]
    events.emit("peer-left", 7, None)
    assert asked == [1, 7]
    with pytest.raises(ValueError, match="Unknown event"):
        events.on("x", lambda: None)
