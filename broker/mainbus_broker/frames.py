"""The frames of one renderer, by id: the main frame, and the child frames that it has opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mainbus.errors import LimitExceeded, ObjectDestroyedError

from mainbus_broker.web_frame import WebFrameMain

if TYPE_CHECKING:
    from mainbus_broker.web_contents import WebContents


class Frames:
    """A registry; a frame that closes takes those that were created in it along.

    Args:
        contents: The renderer.

    Attributes:
        main: The frame with id 0.
    """

    __slots__ = ("_children", "_contents", "_last", "main")

    def __init__(self, contents: WebContents) -> None:
        self.main = WebFrameMain(contents)
        self._contents = contents
        self._children: dict[int, WebFrameMain] | None = None
        self._last = 0

    def all(self) -> list[WebFrameMain]:
        """Return all frames, the main frame first and the others by their age."""
        return [self.main, *(self._children or {}).values()]

    def get(self, frame_id: int) -> WebFrameMain | None:
        """Return the frame with this id, if it is open."""
        if not frame_id:
            return self.main
        return self._children.get(frame_id) if self._children else None

    def was_used(self, frame_id: int) -> bool:
        """Whether a frame has, or had, this id or a higher one: no id is used twice."""
        return frame_id <= self._last

    def open(self, frame_id: int, name: str, parent_id: int, limit: int) -> None:
        """Open a frame in another one, as one of at most `limit`.

        Raises:
            LimitExceeded: There are that many.
            ObjectDestroyedError: The other one is not open.
        """
        parent = self.get(parent_id)
        self._last = frame_id
        if self._children is None:
            self._children = {}
        if len(self._children) >= limit:
            raise LimitExceeded("number of frames", limit)
        if parent is None:
            raise ObjectDestroyedError
        frame = self._children[frame_id] = WebFrameMain(self._contents, frame_id, name, parent)
        parent.frames.append(frame)

    def close(self, frame_id: int) -> None:
        """Close a frame, and those in it; one that is not open is ignored."""
        frame = self._children.pop(frame_id, None) if self._children else None
        if frame is None or frame.parent is None:
            return
        frame.parent.frames.remove(frame)
        frame.detach()
        for child in list(frame.frames):
            self.close(child.frame_id)
