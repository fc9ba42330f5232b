"""A frame of a renderer as the main process sees it."""

import os

import pytest
from mainbus import ObjectDestroyedError
from mainbus_broker import WebFrameMain

from tests.support.bus import Bus, Calls, until


@pytest.mark.contract("2.13")
async def test_the_main_frame(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer("editor")
        contents, told = bus.contents(renderer), Calls()
        renderer.on("x", told)
        frame = contents.main_frame
        assert isinstance(frame, WebFrameMain)
        assert frame is contents.main_frame
        assert contents.frames == [frame]
        assert (frame.frame_id, frame.name, frame.process_id) == (0, "editor", os.getpid())
        assert (frame.parent, frame.frames) == (None, [])
        assert frame.ipc is frame.ipc
        assert not frame.is_destroyed()
        assert not frame.detached
        frame.send("x", 1)
        frame.post_message("x", 2)
        contents.send_to_frame(0, "x", 3)
        await told.wait(3)
        assert told.args == [(1,), (2,), (3,)]
        with pytest.raises(ObjectDestroyedError):
            contents.send_to_frame(1, "x")
        await renderer.aclose()
        await until(frame.is_destroyed)
        assert frame.detached
        for verb in (frame.send, frame.post_message):
            with pytest.raises(ObjectDestroyedError, match=r"^Object has been destroyed$"):
                verb("x", 1)
