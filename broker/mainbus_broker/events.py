"""What listeners and handlers of the main process are called with."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mainbus_broker.web_contents import WebContents
from mainbus_broker.web_frame import WebFrameMain

if TYPE_CHECKING:
    from mainbus.ports import MessagePort as MessagePortMain

    from mainbus_broker.web_frame import WebFrameMain as _Frame


class SyncReply:
    """The one answer that a `send_sync` waits for.

    Args:
        loop: The loop on which it is sent.
        answer: Called once with the value, on that loop.
        never: Called once if no value was set and the event is gone.
    """

    __slots__ = ("_answer", "_loop", "_never", "_thread", "_value")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, answer: Callable[[object], None], never: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._answer: Callable[[object], None] | None = answer
        self._never = never
        self._thread = threading.get_ident()
        self._value: object = None

    @property
    def value(self) -> object:
        """What was answered, or None."""
        return self._value

    def set(self, value: object) -> None:
        """Answer, if nothing was answered yet."""
        answer, self._answer = self._answer, None
        if answer is not None:
            self._value = value
            if threading.get_ident() == self._thread:
                answer(value)
            elif not self._loop.is_closed():
                # A listener in a worker.
                self._loop.call_soon_threadsafe(answer, value)

    def give_up(self) -> None:
        """Answer that there will be no answer."""
        if self._answer is not None:
            self._answer = None
            self._never()

    def __del__(self) -> None:
        # A finaliser runs in any thread, so it only posts to the loop.
        if self._answer is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._never)


class _Event:
    """What both kinds of event tell about the sender; fixed when the message was received."""

    __slots__ = ("_frame", "channel", "sender")

    def __init__(self, channel: str, sender: WebContents, frame: WebFrameMain) -> None:
        self.channel = channel
        self.sender = sender
        self._frame = frame

    @property
    def process_id(self) -> int:
        """The process ID of the renderer that sent it."""
        return self.sender.process.pid

    @property
    def frame_id(self) -> int:
        """The id of the frame that sent it; 0 is the main frame."""
        return self._frame.frame_id

    @property
    def sender_frame(self) -> _Frame | None:
        """The frame that sent it; None once that frame is gone."""
        return None if self._frame.is_destroyed() else self._frame

    @property
    def sender_label(self) -> str:
        """The sender as the log names it."""
        return self.sender.label


class IpcMainEvent(_Event):
    """The first argument of a listener in the main process.

    Attributes:
        channel: The channel that the message came on.
        sender: The `WebContents` of the renderer that sent it.
    """

    __slots__ = ("_ports", "_sync")

    def __init__(
        self,
        channel: str,
        sender: WebContents,
        frame: WebFrameMain,
        sync: SyncReply | None = None,
        ports: Sequence[MessagePortMain] = (),
    ) -> None:
        super().__init__(channel, sender, frame)
        self._ports: list[MessagePortMain] | None = list(ports) if ports else None
        self._sync = sync

    @property
    def ports(self) -> list[MessagePortMain]:
        """The MessagePorts that came with the message; a list, empty for most."""
        if self._ports is None:
            self._ports = []
        return self._ports

    def reply(self, channel: str, *args: object) -> None:
        """Send a message to the very frame that sent this one.

        Args:
            channel: The channel to send on.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            ObjectDestroyedError: That frame is gone.
        """
        self._frame.send(channel, *args)

    @property
    def return_value(self) -> object:
        """The answer to a `send_sync`: the first assignment is sent, later ones are ignored.

        For a message that nobody waits for it has no effect.
        """
        return self._sync.value if self._sync is not None else None

    @return_value.setter
    def return_value(self, value: object) -> None:
        if self._sync is not None:
            self._sync.set(value)


class IpcMainInvokeEvent(_Event):
    """The first argument of a handler in the main process.

    Attributes:
        channel: The channel that was invoked.
        sender: The `WebContents` of the renderer that invoked it.
        request_id: The renderer's number for this invoke.
        deadline: When the renderer stops waiting, in seconds on the loop's clock, or None.
    """

    __slots__ = ("deadline", "request_id")

    def __init__(
        self, channel: str, sender: WebContents, frame: WebFrameMain, request_id: int, deadline: float | None
    ) -> None:
        super().__init__(channel, sender, frame)
        self.request_id = request_id
        self.deadline = deadline
