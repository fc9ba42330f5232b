"""The table of a session's frames: ids, what a reconnect says again, and who closes with whom."""

import pytest
from mainbus import ObjectDestroyedError
from mainbus.frame_table import FrameState, FrameTable
from mainbus.sender_channels import SenderChannels
from mainbus.session import Session
from mainbus.wire.packets import HEADER, HEADER_SIZE, Kind

from tests.support.bus import Bus


def state(frame_id: int, parent: int, ended: list[int]) -> FrameState:
    return FrameState(frame_id, f"frame {frame_id}", parent, SenderChannels(), lambda: ended.append(frame_id))


async def opened(session: Session, frames: FrameTable, frame: FrameState) -> None:
    await frames.open(session, frame)


@pytest.mark.contract("7.7")
async def test_an_id_is_never_used_again() -> None:
    frames = FrameTable()
    assert [frames.next_id() for _ in range(3)] == [1, 2, 3]


@pytest.mark.contract("7.7", "9.6")
async def test_open_frames_are_announced_and_close_with_their_parents(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        session = renderer._session
        assert session is not None
        frames, ended = session.frames, list[int]()
        outer, inner, other = state(1, 0, ended), state(2, 1, ended), state(3, 0, ended)
        for frame in (outer, inner, other):
            assert not frame.is_open
            await opened(session, frames, frame)
            assert frame.is_open
        half = state(4, 0, ended)
        reply = frames.open(session, half)
        packets = list(frames.announcements())
        # The one that the broker has not answered for is not among them: its own packet may still leave.
        heads = [HEADER.unpack_from(packet) for packet in packets]
        assert [(head[1], head[6], head[7], head[8]) for head in heads] == [
            (Kind.FRAME, 0, 1, 0),
            (Kind.FRAME, 0, 2, 1),
            (Kind.FRAME, 0, 3, 0),
        ]
        assert packets[0][HEADER_SIZE:] == b"frame 1"
        assert frames.get(2) is inner
        frames.close(session, outer)
        frames.close(session, outer)
        assert ended == [1, 2]
        assert (frames.get(1), frames.get(2), frames.get(3)) == (None, None, other)
        with pytest.raises(ObjectDestroyedError):
            inner.check()
        other.check()
        await reply
        frames.end()
        assert ended == [1, 2, 3, 4]
        assert len(frames) == 2
