"""BlockingFrame: a child frame of a blocking renderer."""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING, Self

from mainbus.blocking.messages import Mailbox, Messages
from mainbus.blocking.sync_lane import SyncCall
from mainbus.blocking.verbs import BlockingVerbs
from mainbus.blocking.waiter import Waiter
from mainbus.errors import ObjectDestroyedError
from mainbus.frame_table import FrameState
from mainbus.names import check_name
from mainbus.released import released
from mainbus.reply import Reply
from mainbus.session import Session

if TYPE_CHECKING:
    from mainbus.blocking.renderer import BlockingRenderer


class Frames(BlockingVerbs):
    """What can have child frames: a blocking renderer, or a frame of it."""

    __slots__ = ()

    def create_frame(self, name: str) -> BlockingFrame:
        """Open a child frame on this connection; the main process sees it as `event.sender_frame`.

        Args:
            name: Its name, which need not be the only one.

        Returns:
            The frame, open; `with` closes it at its end.

        Raises:
            LimitExceeded: The renderer has as many frames as the broker allows.
            ValueError: The name is not of 1 to 255 bytes of UTF-8.
        """
        session = self._waiting()
        check_name(name, "frame")
        made: list[BlockingFrame] = []

        def start(waiter: Waiter) -> None:
            session.check()
            made.append(BlockingFrame(self._renderer_of(), session.frames.next_id(), name, self._frame))
            waiter.follow(session.frames.open(session, made[0]._state))

        self._loop.wait(start)
        return made[0]

    def _renderer_of(self) -> BlockingRenderer:
        """Return the renderer whose connection this is."""
        raise NotImplementedError


class BlockingFrame(Frames):
    """An `IpcFrame` for threads. Made by `create_frame`.

    Attributes:
        frame_id: From 1; no two frames of a renderer ever have the same.
        name: Its name.
    """

    __slots__ = ("_frame", "_mailboxes", "_renderer", "_replies", "_state")

    def __init__(self, renderer: BlockingRenderer, frame_id: int, name: str, parent_id: int) -> None:
        super().__init__()
        self._frame = frame_id
        self._renderer = renderer
        self._loop = renderer._loop
        self._work = renderer._work
        self._mailboxes: list[Mailbox] = []
        self._replies: weakref.WeakSet[Reply] = weakref.WeakSet()
        self._state = FrameState(frame_id, name, parent_id, self, self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the frame, behind what it has sent; a second call does nothing. Any thread may call it."""
        if self.is_closed or self._loop.is_fork:
            return
        session = self._renderer._opened()
        self._state.is_closed = True
        try:
            self._loop.post_verb(partial(session.frames.close, session, self._state))
        except ObjectDestroyedError:
            pass  # the renderer was closed, and this with it

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
        return self._state.is_closed or self._work.is_over

    # Private: any thread

    def _renderer_of(self) -> BlockingRenderer:
        return self._renderer

    def _opened(self) -> Session:
        self._state.check()
        return self._renderer._opened()

    def _is_over(self) -> bool:
        return self.is_closed

    def _messages(self, mailbox: Mailbox) -> Messages:
        self._mailboxes = [mailbox, *(one for one in self._mailboxes if not one.closed)]
        return super()._messages(mailbox)

    # Private: the reader thread

    def _start_sync(self, session: Session, call: SyncCall, waiter: Waiter) -> None:
        self._renderer._start_sync(session, call, waiter)

    def _track(self, reply: Reply) -> None:
        if self._state.is_closed:
            reply.give_up(released())
        else:
            self._replies.add(reply)

    def _end(self) -> None:
        for mailbox in self._mailboxes:
            mailbox.close()
        for reply in list(self._replies):
            reply.give_up(released())
        with self._work.lock:
            self._work.notify()
