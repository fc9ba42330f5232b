"""Who is the guest of whom. The router asks here before a message passes between a guest and its host.

A link outlives the connections of its two ends: each can come back alone, and whichever is first waits here for the
other. What both have then is a secret that only they and the broker know; the token that began it is used up.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, Final

from mainbus.errors import LimitExceeded, RemoteProtocolError
from mainbus.wire import clone
from mainbus.wire.messages import GuestClaim, unpack
from mainbus.wire.packets import HEADER_SIZE, MAIN, Head, Kind, build, text_of

from mainbus_broker.tokens import digest_of

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer

_SECRET: Final = 16
_LOST_KEPT: Final = 256
"""Guests of one host that were lost and may come back; then the first one is forgotten."""


class Link:
    """A guest and its host, of whom at least one is connected."""

    __slots__ = ("digest", "guest", "host", "name", "number", "secret")

    def __init__(self, host: Peer | None, number: int, name: str | None) -> None:
        self.host = host
        self.number = number
        """The host's own number for this guest."""
        self.name = name
        """The name that the guest will have; None lets it choose."""
        self.guest: Peer | None = None
        self.digest: bytes | None = None
        """That of the token, until it is used."""
        self.secret: bytes | None = None
        """By which either end can come back; None until the token was used."""

    @property
    def is_lost(self) -> bool:
        """Whether the guest was there and is not now."""
        return self.guest is None and self.secret is not None


class Hosting:
    """The links of one broker.

    Args:
        hub: The broker.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._links: dict[bytes, Link] = {}

    def __len__(self) -> int:
        return len(self._links)

    # Public

    @staticmethod
    def related(one: Peer, other: Peer) -> bool:
        """Tell whether one of two renderers is the guest of the other."""
        return (one.hosted is not None and one.hosted.host is other) or (
            other.hosted is not None and other.hosted.host is one
        )

    def admit(self, peer: Peer, link: Link | None, claim: bytes | None) -> None:
        """Make a renderer that has just come a guest, by its token, or by the secret of its former connection."""
        if link is not None:
            link.digest = None
            link.secret = secrets.token_bytes(_SECRET)
            self._links[link.secret] = link
        elif claim is None or len(claim) != _SECRET:
            return
        else:
            link = self._links.get(claim)
            if link is None:
                # Its host has not come back yet, or never will.
                link = self._links[claim] = Link(None, 0, None)
                link.secret = claim
            elif link.guest is not None:
                return
        link.guest = peer
        peer.hosted = link
        self._tell_host(link)

    def serve(self, peer: Peer, head: Head, data: bytes, at: int) -> None:
        """Serve the packet by which a host asks for a guest, or has one again after a reconnect."""
        length, _, _, name_length, channel_length, _, request, _, number = head
        name_end = at + HEADER_SIZE + name_length
        name = text_of(data[at + HEADER_SIZE : name_end]) or None
        guests = self._guests(peer)
        if not number or number in guests:
            peer.close(f"guest {number} was asked for before", blame=True)
            return
        try:
            known = _claim(data[name_end + channel_length : at + length])
        except RemoteProtocolError as error:
            peer.close(str(error), blame=True)
            return
        limit = self._hub.config.limits.guests
        if sum(not link.is_lost for link in guests.values()) >= limit:
            over = LimitExceeded("number of guests", limit)
            self._hub.refuse(peer, over)
            self._answer(peer, request, Kind.ERROR, str(over), over.wire_code)
            return
        self._answer(peer, request, Kind.RESULT, self._expect(peer, number, name, known))

    def let_go(self, host: Peer, number: int) -> None:
        """End a link as its host asks: a token that was not used counts for nothing, a guest has no host any more."""
        link = self._guests(host).get(number)
        if link is not None:
            self._drop(link)

    def gone(self, peer: Peer) -> None:
        """Note that a renderer is gone. One that has said goodbye will not come back."""
        link, peer.hosted = peer.hosted, None
        if link is not None:
            self._guest_gone(peer, link)
        for link in list(self._guests(peer).values()):
            if peer.said_goodbye or link.guest is None:
                self._drop(link)
            else:
                link.host = None
        peer.guests = None

    # Private

    @staticmethod
    def _guests(host: Peer) -> dict[int, Link]:
        if host.guests is None:
            host.guests = {}
        return host.guests

    def _expect(self, host: Peer, number: int, name: str | None, known: GuestClaim) -> str | None:
        link = self._links.get(known.link) if known.link is not None else None
        if link is None:
            link = Link(host, number, name)
        elif link.host is not None:
            # Somebody has it: the former connection of this host was closed before.
            return None
        link.host, link.number = host, number
        self._guests(host)[number] = link
        if known.link is not None:
            link.secret = known.link
            self._links[known.link] = link
            if link.guest is not None:
                self._tell_host(link)
                link.guest.outbox.put(build(Kind.HOST, host.id, name=host.name_raw))
            else:
                self._forget_lost(host)
            return None
        if known.token is not None:
            if self._hub.tokens.expect(known.token, name, link):
                link.digest = known.token
            return None
        token = self._hub.tokens.issue(name, None, link)
        link.digest = digest_of(token)
        return token

    def _tell_host(self, link: Link) -> None:
        if link.host is not None and link.guest is not None:
            assert link.secret is not None
            name = link.guest.name_raw
            link.host.outbox.put(
                build(Kind.GUEST, link.guest.id, value=link.number, name=name, body=clone.encode(link.secret))
            )

    def _guest_gone(self, guest: Peer, link: Link) -> None:
        link.guest = None
        if link.host is None:
            self._drop(link)
            return
        ended = int(guest.said_goodbye)
        link.host.outbox.put(build(Kind.GUEST_CLOSED, guest.id, ended, value=link.number, name=guest.name_raw))
        if ended:
            self._drop(link)
        else:
            # To the end of those that may come back.
            guests = self._guests(link.host)
            guests[link.number] = guests.pop(link.number)
            self._forget_lost(link.host)

    def _forget_lost(self, host: Peer) -> None:
        lost = [link for link in self._guests(host).values() if link.is_lost]
        for link in lost[: max(0, len(lost) - _LOST_KEPT)]:
            self._drop(link)

    def _drop(self, link: Link) -> None:
        if link.digest is not None:
            self._hub.tokens.forget(link.digest)
        if link.secret is not None:
            self._links.pop(link.secret, None)
        if link.host is not None:
            self._guests(link.host).pop(link.number, None)
        if link.guest is not None:
            link.guest.hosted = None
            link.guest.outbox.put(build(Kind.HOST, MAIN))

    @staticmethod
    def _answer(peer: Peer, request: int, kind: Kind, value: Any, code: int = 0) -> None:
        if request:
            body = clone.encode(value)
            peer.route.reply(build(kind, MAIN, request, body, value=code), HEADER_SIZE + len(body))
            peer.charge(HEADER_SIZE + len(body))


def _claim(body: bytes) -> GuestClaim:
    """Return what a host says of a guest that it had before."""
    claim = unpack(GuestClaim, body) if body else GuestClaim()
    if claim.link is not None and len(claim.link) != _SECRET:
        raise RemoteProtocolError(f"the secret of a guest has {_SECRET} bytes, not {len(claim.link)}")
    return claim
