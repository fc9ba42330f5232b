"""`broker.web_contents`: every connected renderer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mainbus.channels import check_channel
from mainbus.errors import MessageTooLarge
from mainbus.wire import clone, packets
from mainbus.wire.packets import MAIN, Kind

from mainbus_broker.web_contents import WebContents

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub


class WebContentsRegistry:
    """`broker.web_contents`: every connected renderer."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def get_all_web_contents(self) -> list[WebContents]:
        """Return all connected renderers, the oldest first."""
        return [peer.contents for peer in self._hub.renderers]

    def from_id(self, id: int) -> WebContents | None:
        """Return the renderer with this id, or None.

        Args:
            id: The id, from 1.
        """
        peer = self._hub.renderers.ids.get(id)
        return peer.contents if peer is not None else None

    def from_name(self, name: str) -> WebContents | None:
        """Return the renderer with this name, or None.

        Args:
            name: The name that it has connected with.
        """
        peer = self._hub.renderers.names.get(name)
        return peer.contents if peer is not None else None

    def broadcast(self, channel: str, *args: object, exclude: Iterable[WebContents | int | str] = ()) -> None:
        """Send a message to every renderer; it is encoded once.

        It does not wait: a renderer whose queue is at the hard limit is closed as a slow consumer. One whose role does
        not let it listen there is left out.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            exclude: Renderers that do not get it, as contents, ids or names.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
        """
        self._hub.owner.check()
        raw = check_channel(channel)
        limits = self._hub.config.limits
        body = clone.encode_body(list(args), max_depth=limits.depth)
        if len(body) > limits.message:
            raise MessageTooLarge(len(body), limits.message)
        whole = packets.message(Kind.SEND, MAIN, 0, body, channel=raw)
        packet = whole if isinstance(whole, bytes) else None
        left_out = {item.id if isinstance(item, WebContents) else item for item in exclude}
        for contents in self.get_all_web_contents():
            if contents.id in left_out or contents.name in left_out or not contents.may_hear(raw):
                continue
            if contents.queued >= limits.hard:
                self._hub.close_slow(contents)
            else:
                contents.send_encoded(raw, body, packet)
