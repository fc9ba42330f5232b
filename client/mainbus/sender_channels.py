"""Channels on which the receiver says whose messages it takes: a renderer's, where others than main may send too."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from mainbus.channels import Channels
from mainbus.registration import Registration
from mainbus.target import Senders

__all__ = ["SenderChannels"]

F = TypeVar("F", bound=Callable[..., object])


class SenderChannels(Channels):
    """`Channels` whose listeners and handlers get only what the chosen senders sent; at first only the main process.

    What does not match is not delivered, so no renderer can pass for the main process.
    """

    __slots__ = ()

    @overload
    def on(
        self, channel: str, fn: None = None, *, senders: Senders = "main", thread: bool = False, validate: bool = True
    ) -> Callable[[F], F]: ...
    @overload
    def on(
        self,
        channel: str,
        fn: Callable[..., object],
        *,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Registration: ...
    def on(
        self,
        channel: str,
        fn: Callable[..., object] | None = None,
        *,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Any:
        """Call a function with every message on a channel that the chosen senders send.

        Args:
            channel: any text of 1 to 255 bytes of UTF-8.
            fn: the listener.
            senders: ``"main"``, ``"renderers"`` or ``"any"``.
            thread: run it in a worker thread, not on the loop; for plain functions.
            validate: check what is sent against the annotations of its parameters.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: no such senders.
            TypeError: no channel, not callable, cannot take the event, a coroutine function in a thread, or annotated
                with what cannot be checked.
        """
        return self._add_listener(channel, fn, senders=senders, thread=thread, validate=validate)

    @overload
    def once(
        self, channel: str, fn: None = None, *, senders: Senders = "main", thread: bool = False, validate: bool = True
    ) -> Callable[[F], F]: ...
    @overload
    def once(
        self,
        channel: str,
        fn: Callable[..., object],
        *,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Registration: ...
    def once(
        self,
        channel: str,
        fn: Callable[..., object] | None = None,
        *,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Any:
        """Call a function with the next message on a channel that the chosen senders send. Else as `on`.

        Args:
            channel: any text of 1 to 255 bytes of UTF-8.
            fn: the listener.
            senders: ``"main"``, ``"renderers"`` or ``"any"``.
            thread: run it in a worker thread, not on the loop; for plain functions.
            validate: check what is sent against the annotations of its parameters.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: no such senders.
            TypeError: no channel, not callable, cannot take the event, a coroutine function in a thread, or annotated
                with what cannot be checked.
        """
        return self._add_listener(channel, fn, once=True, senders=senders, thread=thread, validate=validate)

    add_listener = on

    @overload
    def handle(
        self,
        channel: str,
        fn: None = None,
        *,
        replace: bool = False,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Callable[[F], F]: ...
    @overload
    def handle(
        self,
        channel: str,
        fn: Callable[..., object],
        *,
        replace: bool = False,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Registration: ...
    def handle(
        self,
        channel: str,
        fn: Callable[..., object] | None = None,
        *,
        replace: bool = False,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Any:
        """Answer invokes of a channel by the chosen senders with what a function returns or raises.

        A channel has one handler, whosever invokes it takes.

        Args:
            channel: any text of 1 to 255 bytes of UTF-8.
            fn: the handler.
            replace: take the place of the channel's handler, if there is one.
            senders: ``"main"``, ``"renderers"`` or ``"any"``.
            thread: run it in a worker thread, not on the loop; for plain functions.
            validate: check what is sent against the annotations of its parameters.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: the channel has a handler, and ``replace`` is False; or no such senders.
            TypeError: no channel, not callable, cannot take the event, a coroutine function in a thread, or annotated
                with what cannot be checked.
        """
        return self._add_handler(channel, fn, replace=replace, senders=senders, thread=thread, validate=validate)

    @overload
    def handle_once(
        self,
        channel: str,
        fn: None = None,
        *,
        replace: bool = False,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Callable[[F], F]: ...
    @overload
    def handle_once(
        self,
        channel: str,
        fn: Callable[..., object],
        *,
        replace: bool = False,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Registration: ...
    def handle_once(
        self,
        channel: str,
        fn: Callable[..., object] | None = None,
        *,
        replace: bool = False,
        senders: Senders = "main",
        thread: bool = False,
        validate: bool = True,
    ) -> Any:
        """Answer the next invoke of a channel by the chosen senders. Else as `handle`.

        Args:
            channel: any text of 1 to 255 bytes of UTF-8.
            fn: the handler.
            replace: take the place of the channel's handler, if there is one.
            senders: ``"main"``, ``"renderers"`` or ``"any"``.
            thread: run it in a worker thread, not on the loop; for plain functions.
            validate: check what is sent against the annotations of its parameters.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: the channel has a handler, and ``replace`` is False; or no such senders.
            TypeError: no channel, not callable, cannot take the event, a coroutine function in a thread, or annotated
                with what cannot be checked.
        """
        return self._add_handler(
            channel, fn, once=True, replace=replace, senders=senders, thread=thread, validate=validate
        )
