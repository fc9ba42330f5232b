"""Guests and hosts of one session: the guests that it has, and the host that it has if it is a guest itself."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from mainbus.channels import Channels
from mainbus.emitter import Emitter
from mainbus.errors import LocalProtocolError, ObjectDestroyedError
from mainbus.reply import Reply
from mainbus.wire import clone
from mainbus.wire.messages import Welcome
from mainbus.wire.packets import MAIN, Kind, Message, build, text_of

if TYPE_CHECKING:
    from mainbus.receiver import Receiver
    from mainbus.session import Session

IPC_MESSAGE: Final = "ipc-message"
EVENTS: Final = frozenset({IPC_MESSAGE, "ready", "destroyed"})
"""What a guest object emits."""

_LOST_KEPT: Final = 256
"""Guests that were lost and may come back; then the first one is given up."""
_FORMER_HOSTS: Final = 16
"""Ids that the host has had and whose messages may still wait here."""


class GuestState:
    """What a session knows of a guest, whatever kind of renderer the host is.

    Args:
        number: The host's own number for it.
        name: The name that it will have; None lets it choose.
        owner: The guest itself, whom events name as their `sender`.
        messages: Who listens to what it sends, on the channel `IPC_MESSAGE`.
        emitter: Who wants to know when it comes and goes.
        wake: Called when `id` or `is_over` has changed.
    """

    __slots__ = ("emitter", "id", "is_over", "link", "messages", "name", "number", "owner", "token", "wake")

    def __init__(
        self,
        number: int,
        name: str | None,
        owner: object,
        messages: Channels,
        emitter: Emitter,
        wake: Callable[[], object],
    ) -> None:
        self.number = number
        self.token = ""
        """What makes a renderer this guest."""
        self.name = name
        self.owner = owner
        self.messages = messages
        self.emitter = emitter
        self.wake = wake
        self.id: int | None = None
        """Its id as a renderer, while it is connected."""
        self.is_over = False
        """Whether it has left for good, or was let go."""
        self.link: bytes | None = None
        """A secret that it shares with the broker and its host, from its first connection on."""

    def on(self, event: str, fn: Callable[..., object] | None, *, once: bool = False) -> Any:
        """Register a listener, as `Emitter.on`; one of "ipc-message" is called as a channel's are."""
        registry: Any = self.messages if event == IPC_MESSAGE else self.emitter
        register = registry.once if once else registry.on
        return register(event) if fn is None else register(event, fn)

    def off(self, event: str, fn: Callable[..., object]) -> None:
        """Take out the latest registration of a listener."""
        (self.messages if event == IPC_MESSAGE else self.emitter).off(event, fn)

    def address(self) -> int:
        """Return the id to send to.

        Raises:
            LocalProtocolError: It is not connected.
            ObjectDestroyedError: It has left.
        """
        if self.is_over:
            raise ObjectDestroyedError
        if self.id is None:
            raise LocalProtocolError("this guest is not connected at this moment: `await guest.ready()` first")
        return self.id


class Hosting:
    """The links of one session."""

    __slots__ = ("_by_id", "_guests", "_host", "_hosts", "_last", "_was_guest", "link")

    def __init__(self) -> None:
        self.link: bytes | None = None
        """By this the renderer is a guest again after a reconnect; None if it is none."""
        self._host: int | None = None
        # Replaced, never changed: the thread that runs listeners may be looking.
        self._hosts: tuple[int, ...] = ()
        self._was_guest = False
        self._guests: dict[int, GuestState] = {}
        self._by_id: dict[int, GuestState] = {}
        self._last = 0

    # Public

    def handlers(self, receiver: Receiver) -> dict[int, Callable[[Message], object]]:
        """Return what is to be called with the packets that arrive for this, by their kinds."""

        def come(message: Message) -> None:
            guest = self.joined(message)
            if guest is not None:
                receiver.guest(guest, "ready", message[2])

        def gone(message: Message) -> None:
            guest = self.left(message)
            if guest is not None:
                receiver.guest(guest, "destroyed", message[2])

        return {Kind.GUEST: come, Kind.GUEST_CLOSED: gone, Kind.HOST: lambda message: self.host_is(message[2])}

    # Public: as a guest

    def host(self) -> int:
        """Return the id of the host.

        Raises:
            LocalProtocolError: This renderer is no guest, or its host is not connected.
            ObjectDestroyedError: The host has left.
        """
        if self._host is not None:
            return self._host
        if self.link is not None:
            raise LocalProtocolError("the host of this renderer is not connected at this moment")
        if self._was_guest:
            raise ObjectDestroyedError("The host of this renderer has left")
        raise LocalProtocolError(
            "this renderer has no host: it would have one if it had connected with the token of a guest"
        )

    def was_host(self, peer: int) -> bool:
        """Whether a renderer is the host, or the host's former connection."""
        return peer in self._hosts

    def welcomed(self, welcome: Welcome) -> None:
        """Note what the broker says at a new connection."""
        self._hosts = ()
        self.link = welcome.guest
        self._was_guest = self._was_guest or self.link is not None
        self._host = None
        if welcome.host is not None:
            self.host_is(welcome.host)

    def host_is(self, peer: int) -> None:
        """Note that the host has come back as another renderer; or, by 0, that it has left for good."""
        if peer == MAIN:
            self._host = self.link = None
        else:
            self._host = peer
            self._hosts = (*self._hosts, peer)[-_FORMER_HOSTS:]

    # Public: as a host

    def next_number(self) -> int:
        """Return a number that no guest ever had."""
        self._last += 1
        return self._last

    def guest(self, peer: int) -> GuestState | None:
        """Return the guest that has this id."""
        return self._by_id.get(peer)

    def ask(self, session: Session, guest: GuestState) -> Reply:
        """Ask the broker for a token; the guest has it when the answer, which is returned, is there."""
        name = (guest.name or "").encode()
        reply = session.ask(Kind.GUEST, "create_guest", value=guest.number, name=name)
        reply.add_done_callback(partial(self._answered, session, guest))
        return reply

    def let_go(self, session: Session, guest: GuestState) -> None:
        """Have a guest no more; a second time does nothing."""
        if not guest.is_over:
            session.tell(Kind.GUEST_CLOSED, value=guest.number)
            self._drop(guest)

    def joined(self, message: Message) -> GuestState | None:
        """Note that a guest is connected; returns it, if it is known."""
        _, _, peer, _, _, number, name, _, body = message
        guest = self._guests.get(number)
        if guest is not None:
            secret = clone.decode(body, max_depth=1)
            guest.link = secret if isinstance(secret, bytes) else None
            guest.id = peer
            guest.name = text_of(name) or None
            self._by_id[peer] = guest
            guest.wake()
        return guest

    def left(self, message: Message) -> GuestState | None:
        """Note that a guest is gone; returns it, if it is known."""
        _, _, _, for_good, _, number, _, _, _ = message
        guest = self._guests.get(number)
        if guest is None:
            return None
        guest.id = None
        # The last of those that may come back.
        del self._guests[number]
        if for_good:
            self._end_guest(guest)
        else:
            self._guests[number] = guest
            lost = [guest for guest in self._guests.values() if guest.id is None and guest.link is not None]
            for former in lost[: max(0, len(lost) - _LOST_KEPT)]:
                self._drop(former)
        return guest

    def forget(self, peer: int) -> None:
        """Forget an id that a guest has had, now that all that came from it was served."""
        self._by_id.pop(peer, None)

    def announcements(self) -> Iterator[bytes]:
        """Yield the packets by which another connection gets to know the guests."""
        for guest in self._guests.values():
            if guest.link is not None:
                body = clone.encode({"link": guest.link})
            else:
                body = clone.encode({"token": hashlib.sha256(guest.token.encode()).digest()})
            yield build(Kind.GUEST, MAIN, value=guest.number, name=(guest.name or "").encode(), body=body)

    def connection_lost(self) -> None:
        """Note that all guests, and the host, are out of reach."""
        self._host = None
        self._by_id.clear()
        for guest in self._guests.values():
            guest.id = None

    def end(self) -> None:
        """Note that the session is over."""
        for guest in list(self._guests.values()):
            self._end_guest(guest)
        self._guests.clear()
        self._by_id.clear()

    # Private

    def _answered(self, session: Session, guest: GuestState, reply: asyncio.Future[Any]) -> None:
        if reply.cancelled() or reply.exception() is not None:
            # Also if it was cancelled: the broker may have given a token.
            self.let_go(session, guest)
        else:
            guest.token = reply.result()
            self._guests[guest.number] = guest

    def _drop(self, guest: GuestState) -> None:
        self._guests.pop(guest.number, None)
        if guest.id is not None:
            self._by_id.pop(guest.id, None)
        self._end_guest(guest)

    @staticmethod
    def _end_guest(guest: GuestState) -> None:
        guest.is_over = True
        guest.id = None
        guest.wake()
