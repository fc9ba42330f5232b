"""One-time tokens that the main process gives to the renderers it starts."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from typing import TYPE_CHECKING

from mainbus.errors import ConnectRefused

if TYPE_CHECKING:
    from mainbus_broker.web_contents import WebContents


class Tokens:
    """Tokens that were given out and not used, by digest: neither log nor dump of the process shows one."""

    __slots__ = ("_open", "_waiting")

    def __init__(self) -> None:
        self._open: dict[bytes, tuple[str | None, str | None]] = {}
        self._waiting: dict[bytes, asyncio.Future[WebContents]] = {}

    def issue(self, name: str | None, role: str | None) -> str:
        """Return a new token for a renderer with this name and role."""
        token = secrets.token_urlsafe(32)
        self._open[_digest(token)] = (name, role)
        return token

    def redeem(self, token: str, name: str | None) -> tuple[str | None, str | None]:
        """Use a token up; returns the name and role that come with it.

        Args:
            token: What the renderer showed.
            name: The name it asks for, which counts if the token has none.

        Raises:
            ConnectRefused: It was never given out, or was used before.
        """
        found = self._open.pop(_digest(token), None)
        if found is None:
            raise ConnectRefused("this broker", "the token is unknown or was used before")
        return found[0] or name, found[1]

    def when_redeemed(self, token: str, future: asyncio.Future[WebContents]) -> None:
        """Give `future` the renderer that uses the token."""
        self._waiting[_digest(token)] = future

    def connected(self, token: str, contents: WebContents) -> None:
        """Note which renderer has used a token."""
        future = self._waiting.pop(_digest(token), None)
        if future is not None and not future.done():
            future.set_result(contents)

    def revoke(self, token: str) -> None:
        """Forget a token that nobody will use any more."""
        self._open.pop(_digest(token), None)
        self._waiting.pop(_digest(token), None)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
