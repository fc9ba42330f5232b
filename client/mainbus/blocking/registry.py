"""Listeners and handlers that any thread may register and take out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from mainbus.channels import ChannelInfo
from mainbus.emitter import Emitter
from mainbus.listeners import Listener, Listeners
from mainbus.renderer import ConnectionEvents, Watching
from mainbus.sender_channels import SenderChannels
from mainbus.target import Target

F = TypeVar("F", bound=Callable[..., object])
L = TypeVar("L", bound=Listener)


class LockedListeners(Listeners[L]):
    """`Listeners` that change one at a time; looking one up needs no lock."""

    __slots__ = ("lock",)

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.RLock()

    def add(self, name: str, listener: L) -> None:
        """Append a listener."""
        with self.lock:
            super().add(name, listener)

    def remove(self, name: str, listener: L) -> None:
        """Take out exactly this listener, if it is there."""
        with self.lock:
            super().remove(name, listener)

    def remove_latest(self, name: str, fn: Callable[..., object]) -> None:
        """Take out the latest listener with this function, if there is one."""
        with self.lock:
            super().remove_latest(name, fn)

    def clear(self, name: str | None = None) -> None:
        """Take out all listeners of a name; of every name, if it is None."""
        with self.lock:
            super().clear(name)


class LockedChannels(SenderChannels):
    """`SenderChannels` for threads. No callable runs on a loop, so `thread=True` changes nothing."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        super().__init__()
        listeners: LockedListeners[Target] = LockedListeners()
        self._listeners = listeners
        self._lock = listeners.lock

    def remove_handler(self, channel: str) -> None:
        """Take out a channel's handler, if it has one.

        Args:
            channel: The channel.
        """
        with self._lock:
            super().remove_handler(channel)

    def channels(self) -> dict[str, ChannelInfo]:
        """Return every channel that has a listener or handler, with their number."""
        with self._lock:
            return super().channels()

    def _add_handler(self, channel: str, fn: Callable[..., object] | None, **options: Any) -> Any:
        register = super()._add_handler
        if fn is not None:
            with self._lock:
                return register(channel, fn, **options)
        decorate = register(channel, None, **options)

        def decorate_alone(fn: F) -> F:
            with self._lock:
                decorate(fn)
            return fn

        return decorate_alone

    def _discard_handler(self, channel: str, target: Target) -> None:
        with self._lock:
            super()._discard_handler(channel, target)


class LockedEvents(ConnectionEvents):
    """The events of a blocking renderer's connection."""

    __slots__ = ()

    def __init__(self, renderer: Watching) -> None:
        super().__init__(renderer)
        self._listeners = LockedListeners()


class LockedEmitter(Emitter):
    """An `Emitter` for threads."""

    __slots__ = ()

    def __init__(self, events: frozenset[str]) -> None:
        super().__init__(events)
        self._listeners = LockedListeners()
