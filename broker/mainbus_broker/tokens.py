"""One-time tokens, of the main process for the renderers that it starts, and of renderers for their guests."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING, NamedTuple

from mainbus.errors import ConnectRefused

if TYPE_CHECKING:
    from mainbus_broker.hosting import Link
    from mainbus_broker.web_contents import WebContents


class Grant(NamedTuple):
    """What comes with a token."""

    name: str | None
    role: str | None
    link: Link | None = None
    """Makes whoever uses the token a guest."""


class Tokens:
    """Tokens that were given out and not used, by digest: neither log nor dump of the process shows one."""

    __slots__ = ("_open", "_waiting")

    def __init__(self) -> None:
        self._open: dict[bytes, Grant] = {}
        self._waiting: dict[bytes, asyncio.Future[WebContents]] = {}

    def issue(self, name: str | None, role: str | None, link: Link | None = None) -> str:
        """Return a new token for a renderer with this name and role, and maybe a host."""
        token = secrets.token_urlsafe(32)
        self._open[digest_of(token)] = Grant(name, role, link)
        return token

    def expect(self, digest: bytes, name: str | None, link: Link) -> bool:
        """Take a token that another broker, or this one to the host's former connection, has given out.

        Returns:
            False if it is known already.
        """
        if digest in self._open:
            return False
        self._open[digest] = Grant(name, None, link)
        return True

    def redeem(self, token: str, name: str | None, *, use: bool = True) -> Grant:
        """Use a token up; returns what comes with it.

        Args:
            token: What the renderer showed.
            name: The name it asks for, which counts if the token has none.
            use: Whether it is used up; else this only tells what would come with it.

        Raises:
            ConnectRefused: It was never given out, or was used before.
        """
        digest = digest_of(token)
        found = self._open.get(digest)
        if found is None:
            raise ConnectRefused("this broker", "the token is unknown or was used before")
        if use:
            del self._open[digest]
        return found._replace(name=found.name or name)

    def when_redeemed(self, token: str, future: asyncio.Future[WebContents]) -> None:
        """Give `future` the renderer that uses the token."""
        self._waiting[digest_of(token)] = future

    def connected(self, token: str, contents: WebContents) -> None:
        """Note which renderer has used a token."""
        future = self._waiting.pop(digest_of(token), None)
        if future is not None and not future.done():
            future.set_result(contents)

    def revoke(self, token: str) -> None:
        """Forget a token that nobody will use any more."""
        self._waiting.pop(digest_of(token), None)
        self.forget(digest_of(token))

    def forget(self, digest: bytes) -> None:
        """As `revoke`, by what the registry knows a token by."""
        self._open.pop(digest, None)


def digest_of(token: str) -> bytes:
    """Return what the registry knows a token by."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
