"""The registry of one renderer's frames."""

import pytest
from mainbus import LimitExceeded, ObjectDestroyedError
from mainbus_broker.frames import Frames

from tests.support.bus import Bus


@pytest.mark.contract("2.13")
async def test_frames_open_in_one_another_and_close_together(address: str) -> None:
    async with Bus(address) as bus:
        frames = Frames(bus.contents(await bus.renderer("editor")))
        assert frames.all() == [frames.main]
        assert frames.get(0) is frames.main
        assert frames.get(1) is None
        frames.open(1, "outer", 0, 3)
        frames.open(2, "inner", 1, 3)
        frames.open(5, "other", 0, 3)
        outer, inner, other = frames.all()[1:]
        assert (outer.parent, inner.parent, other.parent) == (frames.main, outer, frames.main)
        assert (frames.main.frames, outer.frames) == ([outer, other], [inner])
        assert frames.get(2) is inner
        assert [frames.was_used(number) for number in (0, 1, 4, 5, 6)] == [True, True, True, True, False]
        with pytest.raises(LimitExceeded):
            frames.open(6, "one too many", 0, 3)
        frames.close(1)
        frames.close(1)
        frames.close(0)
        assert frames.all() == [frames.main, other]
        assert (outer.is_destroyed(), inner.detached, other.detached) == (True, True, False)
        with pytest.raises(ObjectDestroyedError):
            frames.open(7, "in one that is closed", 1, 3)
