"""Who listens to which channel, who handles it: what IpcMain and IpcRenderer have in common."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn, TypeVar, overload

from mainbus.listeners import Listeners
from mainbus.registration import Registration
from mainbus.target import Senders, Target, check_senders

__all__ = ["ChannelInfo", "Channels", "Target", "check_channel"]

F = TypeVar("F", bound=Callable[..., object])

MAX_CHANNEL: Final = 255  # bytes of UTF-8: the header has one byte for it
MAX_ENCODED: Final = 8_192

ENCODED: Final[dict[str, bytes]] = {}
"""Channels that were found right, and their UTF-8."""


def check_channel(channel: str) -> bytes:
    """Return a channel's UTF-8.

    Raises:
        TypeError: not a str of 1 to 255 bytes of UTF-8.
    """
    try:
        return ENCODED[channel]
    except (KeyError, TypeError):
        encoded = _encode(channel)
    if len(ENCODED) >= MAX_ENCODED:
        ENCODED.clear()
    ENCODED[channel] = encoded
    return encoded


def _encode(channel: object) -> bytes:
    if not isinstance(channel, str):
        _refuse(f"type {type(channel).__name__!r}")
    try:
        encoded = channel.encode()
    except UnicodeEncodeError:
        _refuse(f"a lone surrogate in {channel!r}")
    if not 1 <= len(encoded) <= MAX_CHANNEL:
        _refuse(f"{len(encoded)} bytes")
    return encoded


def _refuse(found: str) -> NoReturn:
    raise TypeError(f"Expected channel to be a str of 1 to {MAX_CHANNEL} bytes of UTF-8, but found {found}") from None


class ChannelInfo(NamedTuple):
    """Who is there for a channel."""

    listeners: int
    has_handler: bool


class Channels:
    """Listeners, any number a channel, and handlers, one a channel; Node's and Electron's semantics.

    A listener or handler is any callable that takes the event and the message's arguments; what counts is its
    result. The order is that of registration, ``off`` takes out the latest, the same function twice is called
    twice, a ``once`` is taken out before its call. Without a function the registering methods are decorators.
    """

    __slots__ = ("_handlers", "_listeners")

    def __init__(self) -> None:
        self._handlers: dict[str, Target] = {}
        self._listeners: Listeners[Target] = Listeners()

    # Public: listeners

    @overload
    def on(self, channel: str, fn: None = None, *, thread: bool = False, validate: bool = True) -> Callable[[F], F]: ...
    @overload
    def on(
        self, channel: str, fn: Callable[..., object], *, thread: bool = False, validate: bool = True
    ) -> Registration: ...
    def on(
        self, channel: str, fn: Callable[..., object] | None = None, *, thread: bool = False, validate: bool = True
    ) -> Any:
        """Call a function with every message on a channel.

        Args:
            channel: any text of 1 to 255 bytes of UTF-8.
            fn: the listener.
            thread: run it in a worker thread, not on the loop; for plain functions.
            validate: check what is sent against the annotations of its parameters.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            TypeError: no channel, not callable, cannot take the event, a coroutine function in a thread, or annotated
                with what cannot be checked.
        """
        return self._add_listener(channel, fn, thread=thread, validate=validate)

    @overload
    def once(
        self, channel: str, fn: None = None, *, thread: bool = False, validate: bool = True
    ) -> Callable[[F], F]: ...
    @overload
    def once(
        self, channel: str, fn: Callable[..., object], *, thread: bool = False, validate: bool = True
    ) -> Registration: ...
    def once(
        self, channel: str, fn: Callable[..., object] | None = None, *, thread: bool = False, validate: bool = True
    ) -> Any:
        """Call a function with the next message on a channel only. Else as `on`.

        Args:
            channel: any text of 1 to 255 bytes of UTF-8.
            fn: the listener.
            thread: run it in a worker thread, not on the loop; for plain functions.
            validate: check what is sent against the annotations of its parameters.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            TypeError: no channel, not callable, cannot take the event, a coroutine function in a thread, or annotated
                with what cannot be checked.
        """
        return self._add_listener(channel, fn, once=True, thread=thread, validate=validate)

    def off(self, channel: str, fn: Callable[..., object]) -> None:
        """Take out the latest registration of a listener; a message being delivered still reaches it.

        Args:
            channel: the channel.
            fn: the listener; of one that is not registered nothing happens.
        """
        self._check_thread()
        self._listeners.remove_latest(channel, fn)

    def remove_all_listeners(self, channel: str | None = None) -> None:
        """Take out all listeners of a channel; of every channel, if it is None. Handlers stay.

        Args:
            channel: the channel, or None.
        """
        self._check_thread()
        self._listeners.clear(channel)

    def listener_count(self, channel: str) -> int:
        """Return how many listeners a channel has.

        Args:
            channel: the channel.
        """
        return len(self._listeners.get(channel))

    add_listener = on
    remove_listener = off

    # Public: handlers

    @overload
    def handle(
        self, channel: str, fn: None = None, *, replace: bool = False, thread: bool = False, validate: bool = True
    ) -> Callable[[F], F]: ...
    @overload
    def handle(
        self,
        channel: str,
        fn: Callable[..., object],
        *,
        replace: bool = False,
        thread: bool = False,
        validate: bool = True,
    ) -> Registration: ...
    def handle(
        self,
        channel: str,
        fn: Callable[..., object] | None = None,
        *,
        replace: bool = False,
        thread: bool = False,
        validate: bool = True,
    ) -> Any:
        """Answer invokes of a channel with what a function returns or raises.

        Args:
            channel: any text of 1 to 255 bytes of UTF-8.
            fn: the handler.
            replace: take the place of the channel's handler, if there is one.
            thread: run it in a worker thread, not on the loop; for plain functions.
            validate: check what is sent against the annotations of its parameters.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: the channel has a handler, and ``replace`` is False.
            TypeError: no channel, not callable, cannot take the event, a coroutine function in a thread, or annotated
                with what cannot be checked.
        """
        return self._add_handler(channel, fn, replace=replace, thread=thread, validate=validate)

    @overload
    def handle_once(
        self, channel: str, fn: None = None, *, replace: bool = False, thread: bool = False, validate: bool = True
    ) -> Callable[[F], F]: ...
    @overload
    def handle_once(
        self,
        channel: str,
        fn: Callable[..., object],
        *,
        replace: bool = False,
        thread: bool = False,
        validate: bool = True,
    ) -> Registration: ...
    def handle_once(
        self,
        channel: str,
        fn: Callable[..., object] | None = None,
        *,
        replace: bool = False,
        thread: bool = False,
        validate: bool = True,
    ) -> Any:
        """Answer the next invoke of a channel only. Else as `handle`.

        Args:
            channel: any text of 1 to 255 bytes of UTF-8.
            fn: the handler.
            replace: take the place of the channel's handler, if there is one.
            thread: run it in a worker thread, not on the loop; for plain functions.
            validate: check what is sent against the annotations of its parameters.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: the channel has a handler, and ``replace`` is False.
            TypeError: no channel, not callable, cannot take the event, a coroutine function in a thread, or annotated
                with what cannot be checked.
        """
        return self._add_handler(channel, fn, once=True, replace=replace, thread=thread, validate=validate)

    def remove_handler(self, channel: str) -> None:
        """Take out a channel's handler, if it has one.

        Args:
            channel: the channel.
        """
        self._check_thread()
        self._handlers.pop(channel, None)

    # Public: lookups

    def channels(self) -> dict[str, ChannelInfo]:
        """Return every channel that has a listener or handler, with their number."""
        names = dict.fromkeys((*self._listeners.by_name, *self._handlers))
        return {name: ChannelInfo(self.listener_count(name), name in self._handlers) for name in names}

    def listeners(self, channel: str) -> tuple[Target, ...]:
        """Return a snapshot of a channel's listeners; a `once` is consumed by its caller (`Target.consume`)."""
        return self._listeners.by_name.get(channel, ())

    def handler(self, channel: str) -> Target | None:
        """Return a channel's handler; a `handle_once` is consumed by its caller (`Target.consume`)."""
        return self._handlers.get(channel)

    # For subclasses: whose thread it is. What a renderer adds is `senders`.

    def _check_thread(self) -> None:
        """Raise if this is not the thread in which all this may change."""

    def _add_listener(
        self,
        channel: str,
        fn: Callable[..., object] | None,
        *,
        once: bool = False,
        thread: bool = False,
        senders: Senders = "any",
        validate: bool = True,
    ) -> Any:
        check_channel(channel)
        check_senders(senders)

        def register(fn: Callable[..., object]) -> Registration:
            self._check_thread()
            target = Target(fn, once=once, thread=thread, senders=senders, validate=validate)
            self._listeners.add(channel, target)
            return self._registration(target, lambda: self._listeners.remove(channel, target))

        return _decorator(register) if fn is None else register(fn)

    def _add_handler(
        self,
        channel: str,
        fn: Callable[..., object] | None,
        *,
        once: bool = False,
        replace: bool = False,
        thread: bool = False,
        senders: Senders = "any",
        validate: bool = True,
    ) -> Any:
        check_channel(channel)
        check_senders(senders)

        def register(fn: Callable[..., object]) -> Registration:
            self._check_thread()
            # Before anything is said about the function: Electron's order.
            if not replace and channel in self._handlers:
                raise ValueError(f"Attempted to register a second handler for '{channel}'")
            target = Target(fn, once=once, thread=thread, senders=senders, validate=validate)
            self._handlers[channel] = target
            return self._registration(target, lambda: self._discard_handler(channel, target))

        return _decorator(register) if fn is None else register(fn)

    def _registration(self, target: Target, discard: Callable[[], object]) -> Registration:
        if target.once:
            target.on_consume(discard)

        def cancel() -> None:
            self._check_thread()
            discard()

        return Registration(cancel)

    def _discard_handler(self, channel: str, target: Target) -> None:
        # It may have been replaced since.
        if self._handlers.get(channel) is target:
            del self._handlers[channel]


def _decorator(register: Callable[[F], object]) -> Callable[[F], F]:
    def decorate(fn: F) -> F:
        register(fn)
        return fn

    return decorate
