"""IpcFrame: a child frame of a renderer, with verbs and channels of its own on the same connection."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Self

from mainbus.frame_table import FrameState
from mainbus.leaving import Leaving
from mainbus.names import check_name
from mainbus.released import released
from mainbus.reply import Reply
from mainbus.session import Session
from mainbus.streams import StreamReply
from mainbus.verbs import Verbs
from mainbus.waiters import Waiters

if TYPE_CHECKING:
    from mainbus.renderer import IpcRenderer


class Frames(Verbs):
    """What can have child frames: a renderer, or a frame of it."""

    __slots__ = ()

    async def create_frame(self, name: str) -> IpcFrame:
        """Open a child frame on this connection; the main process sees it as `event.sender_frame`.

        Args:
            name: Its name, which need not be the only one.

        Returns:
            The frame, open; `async with` closes it at its end.

        Raises:
            LimitExceeded: The renderer has as many frames as the broker allows.
            ValueError: The name is not of 1 to 255 bytes of UTF-8.

        Safe to cancel: there is no such frame then.
        """
        session = self._checked()
        frame = IpcFrame(self._renderer_of(), session.frames.next_id(), check_name(name, "frame"), self._frame)
        await session.frames.open(session, frame._state)
        return frame

    def _renderer_of(self) -> IpcRenderer:
        """Return the renderer whose connection this is."""
        raise NotImplementedError


class IpcFrame(Frames):
    """A child frame of a renderer. Made by `create_frame`; a frame may have frames of its own, which close with it.

    It has the verbs of an `IpcRenderer`, and gets what the main process sends to this very frame. To other renderers
    its messages are the renderer's own; what they send goes to the renderer, never to a frame. After `aclose` its
    verbs raise `ObjectDestroyedError`, and its invokes that have no answer are cancelled. A reconnect brings it back.

    Attributes:
        frame_id: From 1; no two frames of a renderer ever have the same.
        name: Its name.
    """

    __slots__ = ("_frame", "_renderer", "_replies", "_state")

    def __init__(self, renderer: IpcRenderer, frame_id: int, name: str, parent_id: int) -> None:
        super().__init__()
        self._frame = frame_id
        self._renderer = renderer
        self._arrivals = Waiters(asyncio.get_running_loop())
        self._replies: weakref.WeakSet[Reply] = weakref.WeakSet()
        self._state = FrameState(frame_id, name, parent_id, self, self._end)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the frame, behind what it has sent; a second call does nothing. It does not wait for anybody."""
        if not self.is_closed:
            session = self._renderer._checked()
            session.frames.close(session, self._state)

    @property
    def frame_id(self) -> int:
        """The frame's id."""
        return self._state.frame_id

    @property
    def name(self) -> str:
        """The frame's name."""
        return self._state.name

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, or its parent or renderer was."""
        return self._state.is_closed or self._renderer._is_over

    # Private

    def _renderer_of(self) -> IpcRenderer:
        return self._renderer

    @property
    def _leaving(self) -> Leaving | None:
        return None if self._state.is_closed else self._renderer._leaving

    def _checked(self) -> Session:
        self._state.check()
        return self._renderer._checked()

    def _check_thread(self) -> None:
        self._renderer._check_thread()

    def _check_registering(self) -> None:
        self._state.check()
        self._renderer._check_registering()

    def _invoke(self, target: int | str, channel: str, args: tuple[object, ...], timeout: float | None) -> Reply:
        reply = super()._invoke(target, channel, args, timeout)
        self._replies.add(reply)
        return reply

    def _open_stream(
        self, target: int | str, channel: str, args: Sequence[object], timeout: float | None
    ) -> StreamReply:
        reply = super()._open_stream(target, channel, args, timeout)
        self._replies.add(reply)
        return reply

    def _end(self) -> None:
        self._arrivals.end()
        for reply in list(self._replies):
            reply.give_up(released())
