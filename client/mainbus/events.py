"""What listeners and handlers of a renderer are called with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mainbus.ports import MessagePort
    from mainbus.renderer import IpcRenderer


class IpcRendererInvokeEvent:
    """The first argument of a renderer's handler.

    Attributes:
        channel: The channel that was invoked.
        sender: The `IpcRenderer` that received the invoke.
        sender_id: 0 for the main process, else the renderer's id.
        sender_name: The name of that renderer; empty for the main process and for renderers without one.
        request_id: The caller's number for this invoke.
        deadline: When the caller stops waiting, in seconds on the loop's clock, or None.
    """

    __slots__ = ("channel", "deadline", "link", "request_id", "sender", "sender_id", "sender_name")

    def __init__(
        self,
        channel: str,
        sender: IpcRenderer,
        sender_id: int,
        sender_name: str,
        request_id: int,
        deadline: float | None,
    ) -> None:
        self.channel = channel
        self.sender = sender
        self.sender_id = sender_id
        self.sender_name = sender_name
        self.request_id = request_id
        self.deadline = deadline
        self.link: object = None

    @property
    def sender_label(self) -> str:
        """The sender as the log names it."""
        return _label(self.sender_id, self.sender_name)


class IpcRendererEvent:
    """The first argument of a renderer's listener.

    Attributes:
        channel: The channel that the message came on.
        sender: The `IpcRenderer` that received it.
        sender_id: 0 for the main process, else the renderer's id.
        sender_name: The name of that renderer; empty for the main process and for renderers without one.
        ports: The MessagePorts that came with the message; a list, empty for most.
    """

    __slots__ = ("channel", "ports", "sender", "sender_id", "sender_name")

    def __init__(
        self,
        channel: str,
        sender: IpcRenderer,
        sender_id: int,
        sender_name: str,
        ports: Sequence[MessagePort] = (),
    ) -> None:
        self.channel = channel
        self.sender = sender
        self.sender_id = sender_id
        self.sender_name = sender_name
        self.ports = list(ports)

    @property
    def sender_label(self) -> str:
        """The sender as the log names it."""
        return _label(self.sender_id, self.sender_name)

    def reply(self, channel: str, *args: object) -> None:
        """Send a message back to whoever sent this one.

        Args:
            channel: The channel to send on.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            ObjectDestroyedError: The renderer was closed.
        """
        if self.sender_id:
            self.sender.send_to(self.sender_id, channel, *args)
        else:
            self.sender.send(channel, *args)


def _label(sender_id: int, name: str) -> str:
    if not sender_id:
        return "the main process"
    return f"renderer {sender_id} ({name})" if name else f"renderer {sender_id}"
