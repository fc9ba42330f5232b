"""Whom a session hands what has arrived."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mainbus.hosting import GuestState
from mainbus.ports import MessagePort
from mainbus.wire.messages import WireLimits
from mainbus.wire.packets import Message, Taker


class Receiver(Protocol):
    """The receiving half of a renderer, as its session sees it."""

    taker: Taker | None
    """Who takes common packets before anything else is asked; None: nobody does."""

    def message(self, message: Message, ports: Sequence[MessagePort] = ()) -> None:
        """Take a one-way message, and the ports that came with it."""

    def invoke(self, message: Message) -> None:
        """Take an invoke."""

    def reply(self, message: Message) -> None:
        """Take the answer to an invoke."""

    def cancel(self, peer: int, request: int, *, late: bool) -> None:
        """Cancel an invoke of `peer`. `late`: since its deadline has passed."""

    def demand(self, peer: int, request: int, credit: int) -> None:
        """Let a stream that `peer` has asked for send items of `credit` more bytes."""

    def peer_left(self, peer: int) -> None:
        """Note that `peer` is gone."""

    def guest(self, guest: GuestState, event: str, peer: int) -> None:
        """Let a guest, which is or was `peer`, know what has happened to it, behind what it has sent."""

    def connected(self, limits: WireLimits) -> None:
        """Note what the broker takes from now on."""

    def connection_lost(self) -> None:
        """Note that everybody at the other end is out of reach."""

    def end(self) -> None:
        """Note that nothing will arrive any more."""

    def notify(self, event: str, *args: object) -> object:
        """Emit an event of the connection itself."""
