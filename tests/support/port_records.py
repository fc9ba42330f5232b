"""The ports of a connection that there is none of: what would leave by it is kept, in order."""

from __future__ import annotations

from mainbus.errors import MessageTooLarge
from mainbus.port_end import End
from mainbus.port_registry import PortRegistry
from mainbus.port_remote import Remote
from mainbus.ports import MessageChannel, MessagePort
from mainbus.wire import clone


class Records(PortRegistry):
    """A registry; a message with ends leaves at once."""

    def __init__(self, max_message: int = 1 << 30) -> None:
        super().__init__(MessagePort)
        self.sent: list[tuple[object, ...]] = []
        self._max_message = max_message

    def take(self) -> list[tuple[object, ...]]:
        """Return what was sent since the last time."""
        sent, self.sent = self.sent, []
        return sent

    def leave(self, port: MessagePort) -> Remote | None:
        """Let a port leave with a message to somebody; returns the other end's way, which is still to be opened."""
        return self.depart(port.release())[1]

    def check_size(self, size: int) -> None:
        """Allow no more than `max_message`."""
        if size > self._max_message:
            raise MessageTooLarge(size, self._max_message)

    async def drain(self) -> None:
        """Return at once."""

    def put_message(self, remote: Remote, body: bytes, ends: list[End], flags: int = 0) -> None:
        """Keep a message."""
        left = [self.depart(end) for end in ends]
        self.sent.append(("message", remote.number, clone.decode(body), *(entry for entry, _ in left)))
        for _, back in left:
            if back is not None:
                back.open()

    def put_credit(self, number: int, credit: int) -> None:
        """Keep it."""
        self.sent.append(("credit", number, credit))

    def put_close(self, remote: Remote, code: int) -> None:
        """Keep it, and forget the port."""
        if self._remotes.pop(remote.number, None) is remote:
            self.sent.append(("close", remote.number, code))


def pair() -> tuple[Records, MessagePort, Remote]:
    """Return a registry and a port whose other end, number 1, has left by it; the port is number 3."""
    records, channel = Records(), MessageChannel()
    back = records.leave(channel.port2)
    assert back is not None
    back.open()
    return records, channel.port1, back


def heard(port: MessagePort) -> list[object]:
    """Start a port; returns the list to which its messages and its close are added."""
    log: list[object] = []
    port.on("message", lambda event: log.append(event.data))
    port.on("close", lambda: log.append("closed"))
    port.start()
    return log
