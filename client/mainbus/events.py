"""What listeners and handlers of a renderer and of a port are called with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mainbus.hosting import GuestState
    from mainbus.ports import MessagePort
    from mainbus.renderer import IpcRenderer

MESSAGE: Final = "message"
"""The event of a port that brings a message."""


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
        sender: The `IpcRenderer`, or the `IpcFrame` of it, that received it.
        sender_id: 0 for the main process, else the renderer's id.
        sender_name: The name of that renderer; empty for the main process and for renderers without one.
        from_host: Whether it comes from the host of this guest, which counts as main but has an id of its own.
    """

    __slots__ = ("_ports", "channel", "from_host", "sender", "sender_id", "sender_name")

    def __init__(
        self,
        channel: str,
        sender: IpcRenderer,
        sender_id: int,
        sender_name: str,
        ports: Sequence[MessagePort] = (),
        *,
        from_host: bool = False,
    ) -> None:
        self.channel = channel
        self.sender = sender
        self.sender_id = sender_id
        self.sender_name = sender_name
        self.from_host = from_host
        self._ports: list[MessagePort] | None = list(ports) if ports else None

    @property
    def ports(self) -> list[MessagePort]:
        """The MessagePorts that came with the message; a list, empty for most."""
        if self._ports is None:
            self._ports = []
        return self._ports

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
        if self.from_host:
            self.sender.send_to_host(channel, *args)
        elif self.sender_id:
            self.sender.send_to(self.sender_id, channel, *args)
        else:
            self.sender.send(channel, *args)


class IpcMessageEvent:
    """The first argument of a guest's "ipc-message" listener, at its host.

    Attributes:
        channel: The channel that the guest has sent on.
        args: What it has sent.
        sender: The guest.
        sender_id: The guest's id as a renderer.
    """

    __slots__ = ("args", "channel", "sender", "sender_id")

    def __init__(self, channel: str, sender: GuestState, sender_id: int, args: Sequence[object]) -> None:
        self.channel = channel
        # Whoever listens has the guest of its own kind of renderer.
        self.sender: Any = sender.owner
        self.sender_id = sender_id
        self.args = list(args)

    @property
    def sender_label(self) -> str:
        """The sender as the log names it."""
        return f"guest {self.sender_id}"

    def reply(self, channel: str, *args: object) -> None:
        """Send a message back to the guest. As its `send`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            ObjectDestroyedError: The guest has left.
        """
        self.sender.send(channel, *args)


class MessageEvent:
    """What a "message" listener of a port is called with.

    Attributes:
        data: The message.
    """

    __slots__ = ("_ports", "data")

    channel = MESSAGE

    def __init__(self, data: Any, ports: list[MessagePort]) -> None:
        self.data = data
        self._ports: list[MessagePort] | None = ports

    @property
    def ports(self) -> list[MessagePort]:
        """The MessagePorts that came with the message; a list, empty for most."""
        if self._ports is None:
            self._ports = []
        return self._ports


def _label(sender_id: int, name: str) -> str:
    if not sender_id:
        return "the main process"
    return f"renderer {sender_id} ({name})" if name else f"renderer {sender_id}"
