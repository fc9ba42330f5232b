"""WebFrameMain: a frame of a renderer, as the main process sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mainbus_broker.ipc_main import IpcMain

if TYPE_CHECKING:
    from mainbus.reply import Reply
    from mainbus.streams import Stream

    from mainbus_broker.web_contents import WebContents


class WebFrameMain:
    """A frame of a renderer: the main frame, which is the renderer's own, or one that it has opened beside it.

    Attributes:
        frame_id: 0 for the main frame.
        name: The frame's name; the main frame has the renderer's.
        process_id: The process ID of the renderer.
        parent: The frame that it was created in; None for the main frame.
        frames: The frames that were created in it.
    """

    __slots__ = ("_contents", "_is_detached", "frame_id", "frames", "name", "own_ipc", "parent", "process_id")

    def __init__(
        self, contents: WebContents, frame_id: int = 0, name: str | None = None, parent: WebFrameMain | None = None
    ) -> None:
        self._contents = contents
        self.own_ipc: IpcMain | None = None
        """`ipc`, if it was ever asked for."""
        self._is_detached = False
        self.frame_id = frame_id
        self.name = name if frame_id else contents.name
        self.process_id = contents.process.pid
        self.parent = parent
        self.frames: list[WebFrameMain] = []

    @property
    def ipc(self) -> IpcMain:
        """Listeners and handlers for this frame only; asked before `contents.ipc` and `ipc_main`."""
        if self.own_ipc is None:
            self.own_ipc = self._contents.new_ipc()
            self._contents.plain_frame = None
        return self.own_ipc

    @property
    def detached(self) -> bool:
        """Whether the frame is gone while its object lives on."""
        return self.is_destroyed()

    def is_destroyed(self) -> bool:
        """Tell whether the frame, or its renderer, is gone.

        Returns:
            True as soon as it was closed, or its renderer has gone.
        """
        return self._is_detached or self._contents.is_destroyed()

    def send(self, channel: str, *args: object) -> None:
        """Send a message to this frame. As `WebContents.send`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            SendQueueFull: The renderer does not keep up; `WebContents.drain` waits until it does.
            ObjectDestroyedError: The frame, or its renderer, is gone.
        """
        self._contents.send_to_frame(self.frame_id, channel, *args)

    def post_message(self, channel: str, message: object, transfer: Sequence[object] = ()) -> None:
        """Send one message to this frame. As `WebContents.post_message`.

        Args:
            channel: The channel.
            message: A value that structured clone can copy.
            transfer: MessagePorts that go along (`event.ports`); here they are of no use any more.

        Raises:
            PortError: `transfer` has something else than ports that can leave; nothing was sent.
            ObjectDestroyedError: The frame, or its renderer, is gone.
        """
        self._contents.post_to_frame(self.frame_id, channel, message, transfer)

    def invoke(self, channel: str, *args: object, timeout: float | None = None) -> Reply:
        """Invoke the handler of this frame. As `WebContents.invoke`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.

        Returns:
            A `Reply`: the result, or a `RemoteError`, when awaited.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            ObjectDestroyedError: The frame, or its renderer, is gone.
        """
        return self._contents.invoke_frame(self.frame_id, channel, args, timeout)

    def stream(self, channel: str, *args: object, timeout: float | None = None) -> Stream:
        """Ask the handler of this frame for a stream of items. As `WebContents.stream`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, for the whole stream, or None.

        Returns:
            A `Stream`, an async iterator and async context manager.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            ObjectDestroyedError: The frame, or its renderer, is gone.
        """
        return self._contents.stream_frame(self.frame_id, channel, args, timeout)

    # For the broker

    def detach(self) -> None:
        """Note that the frame is closed."""
        self._is_detached = True
