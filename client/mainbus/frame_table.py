"""The frames of one session, by id; an id is never used again, not even on another connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from mainbus.released import released
from mainbus.reply import Reply
from mainbus.sender_channels import SenderChannels
from mainbus.wire.packets import MAIN, Fields, Kind, build

if TYPE_CHECKING:
    from mainbus.session import Session


class FrameState:
    """What a session knows of a frame, whatever kind of renderer has it.

    Args:
        frame_id: Its id.
        name: Its name.
        parent_id: The id of the frame that it was created in; 0 is the renderer itself.
        owner: The frame itself: who listens there, and whom events name as their `sender`.
        end: Called when no message will come any more.
    """

    __slots__ = ("end", "frame_id", "is_closed", "is_open", "name", "owner", "parent_id")

    def __init__(
        self, frame_id: int, name: str, parent_id: int, owner: SenderChannels, end: Callable[[], object]
    ) -> None:
        self.frame_id = frame_id
        self.name = name
        self.parent_id = parent_id
        self.owner = owner
        self.end = end
        self.is_open = False
        """Whether the broker knows it."""
        self.is_closed = False

    def check(self) -> None:
        """Raise if the frame is closed.

        Raises:
            ObjectDestroyedError: It is.
        """
        if self.is_closed:
            raise released()


class FrameTable:
    """A registry of child frames; a frame that closes takes those that were created in it along."""

    __slots__ = ("_frames", "_last")

    def __init__(self) -> None:
        self._frames: dict[int, FrameState] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._frames)

    def next_id(self) -> int:
        """Return an id that no frame ever had."""
        self._last += 1
        return self._last

    def get(self, frame_id: int) -> FrameState | None:
        """Return the frame with this id, unless it is closed."""
        return self._frames.get(frame_id)

    def open(self, session: Session, frame: FrameState) -> Reply:
        """Ask the broker to open a frame; returns the answer."""
        self._frames[frame.frame_id] = frame
        reply = session.ask(Kind.FRAME, "create_frame", **_fields(frame))
        reply.add_done_callback(partial(self._answered, session, frame))
        return reply

    def close(self, session: Session, frame: FrameState) -> None:
        """Close a frame, and those in it, behind what they have sent; one that is closed is ignored."""
        if frame.frame_id in self._frames:
            self._forget(frame)
            session.tell(Kind.FRAME_CLOSED, frame=frame.frame_id)

    def announcements(self) -> Iterator[bytes]:
        """Yield the packets by which another connection gets to know the frames that are open."""
        for frame in self._frames.values():
            if frame.is_open:
                yield build(Kind.FRAME, MAIN, **_fields(frame))

    def end(self) -> None:
        """Note that the session is over."""
        for frame in self._frames.values():
            frame.end()

    def _forget(self, frame: FrameState) -> None:
        del self._frames[frame.frame_id]
        frame.is_closed = True
        frame.end()
        for child in [child for child in self._frames.values() if child.parent_id == frame.frame_id]:
            self._forget(child)

    def _answered(self, session: Session, frame: FrameState, reply: asyncio.Future[object]) -> None:
        if not reply.cancelled() and reply.exception() is None:
            frame.is_open = True
        else:
            # Also if it was cancelled: the broker may have opened it.
            self.close(session, frame)


def _fields(frame: FrameState) -> Fields:
    """Return what the packet says that opens a frame."""
    return {"frame": frame.frame_id, "value": frame.parent_id, "name": frame.name.encode()}
