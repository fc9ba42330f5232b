"""Verbs: what a renderer, or a frame of it, can say and hear."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

from mainbus.channels import check_channel
from mainbus.errors import ConnectionLost, InvokeTimeout
from mainbus.incoming import Incoming, Mailbox
from mainbus.lane import lane_of
from mainbus.lane_threads import BROKER_THREADS
from mainbus.leaving import Leaving
from mainbus.names import check_target
from mainbus.ports import check_transfer, release
from mainbus.reply import Reply
from mainbus.sender_channels import SenderChannels
from mainbus.session import Session
from mainbus.streams import Stream, StreamReply
from mainbus.target import Senders
from mainbus.timeouts import check_timeout
from mainbus.waiters import Waiters
from mainbus.wire import clone
from mainbus.wire.packets import BROADCAST, INVOKE, MAIN, SEND
from mainbus.wire.pieces import Body


class Verbs(SenderChannels):
    """The verbs of Electron's `ipcRenderer`, over the session of whoever has them.

    Verbs that return at once never wait: what cannot leave yet is held, in order, and `drain` waits for it.
    """

    __slots__ = ("_arrivals",)

    _arrivals: Waiters
    _frame: int = 0
    """The id of the frame that speaks; 0 is the renderer itself."""

    # Public: to the main process

    def send(self, channel: str, *args: object) -> None:
        """Send a message to the main process; returns at once.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            MessageTooLarge: It is longer than the broker takes.
            SendQueueFull: Too much waits to leave; `drain` waits until it has.
        """
        quick = self._leaving
        if quick is None or not quick.send(MAIN, channel, args, self._frame):
            session = self._checked()
            session.send(SEND, MAIN, None, check_channel(channel), encode(session, args), frame=self._frame)

    def post_message(self, channel: str, message: object, transfer: Sequence[object] = ()) -> None:
        """Send one message to the main process, whose listener gets `(event, message)`. As `send`.

        Args:
            channel: The channel.
            message: A value that structured clone can copy.
            transfer: MessagePorts that go along (`event.ports`); here they are of no use any more.

        Raises:
            PortError: `transfer` has something else than ports that can leave; nothing was sent.
        """
        session = self._checked()
        ports = check_transfer(transfer, None, session.ports)
        raw, body = check_channel(channel), encode(session, (message,))
        session.check_room(MAIN, body)
        session.post(raw, body, release(ports), self._frame)

    def invoke(self, channel: str, *args: object, timeout: float | None = None) -> Reply:
        """Invoke a handler of the main process; the request leaves at the call, awaited or not.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.

        Returns:
            A `Reply`. Awaiting it gives the handler's result, or raises `RemoteError` (`NoHandlerError`,
            `ReplyNeverSent`), `InvokeTimeout` or `ConnectionLost`. Cancelling it cancels the handler.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
        """
        return self._invoke(MAIN, channel, args, timeout)

    def stream(self, channel: str, *args: object, timeout: float | None = None) -> Stream:
        """Ask a handler of the main process for a stream of items; the request leaves at the call.

        The generator at the other end waits while this end does not take its items.

        Args:
            channel: The channel, whose handler is an async generator; any other yields its one result.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, for the whole stream, or None.

        Returns:
            A `Stream`, an async iterator and async context manager.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
        """
        return self._stream(MAIN, channel, args, timeout)

    def send_sync(self, channel: str, *args: object, timeout: float = 30) -> object:
        """Send a message to the main process and block this thread until a listener sets `event.return_value`.

        It keeps its place among what was sent before. What arrives meanwhile is dispatched after it returns. Prefer
        `invoke`: while this blocks, nothing else of this loop runs.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`.

        Returns:
            What the listener has set.

        Raises:
            ConnectionLost: There is no connection, or it was lost.
            ReplyNeverSent: Nobody listens, or nobody set a value.
            RuntimeError: This is the thread of the broker's own loop, which would wait for itself.
        """
        session = self._checked()
        check_timeout(timeout)
        raw, body = check_channel(channel), encode(session, args)
        if session.link is None or session.welcome is None:
            raise ConnectionLost("send_sync needs a connection, and there is none at this moment")
        if BROKER_THREADS.get(session.welcome.instance) == threading.get_ident():
            raise RuntimeError("send_sync on the thread of the broker's own loop would wait for itself; use invoke")
        return lane_of(session).call(channel, raw, body, timeout, self._frame)

    # Public: to other renderers

    def send_to(self, target: int | str, channel: str, *args: object) -> None:
        """Send a message to another renderer; returns at once. If it cannot be delivered, "undeliverable" is raised.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must listen with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            MessageTooLarge: It is larger than the broker takes; nothing was sent.
            SendQueueFull: 64 MiB wait here already, since the target does not keep up.
        """
        quick = self._leaving
        if quick is None or not quick.send(target, channel, args, self._frame):
            session = self._checked()
            peer, name = check_target(target)
            session.send(SEND, peer, name, check_channel(channel), encode(session, args), frame=self._frame)

    def invoke_to(self, target: int | str, channel: str, *args: object, timeout: float | None = None) -> Reply:
        """Invoke another renderer's handler. As `invoke`; awaiting may also raise `NoSuchRenderer`.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must handle it with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.

        Returns:
            A `Reply`, as of `invoke`.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            NoSuchRenderer: When awaited: there is none of that id or name.
        """
        return self._invoke(target, channel, args, timeout)

    def stream_to(self, target: int | str, channel: str, *args: object, timeout: float | None = None) -> Stream:
        """Ask another renderer's handler for a stream of items. As `stream`; it may also raise `NoSuchRenderer`.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must handle it with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, for the whole stream, or None.

        Returns:
            A `Stream`, as of `stream`.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            NoSuchRenderer: When iterated: there is none of that id or name.
        """
        return self._stream(target, channel, args, timeout)

    def broadcast(self, channel: str, *args: object) -> None:
        """Send a message to every other renderer; returns at once. As `send`.

        Broadcasts keep their own order; they do not wait behind what is held for one renderer.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            MessageTooLarge: It is larger than the broker takes; nothing was sent.
            SendQueueFull: 64 MiB wait here already, since the target does not keep up.
        """
        session = self._checked()
        session.send(BROADCAST, MAIN, None, check_channel(channel), encode(session, args))

    # Public: receiving

    def listen(
        self, channel: str, max_queue: int = 1024, *, senders: Senders = "main"
    ) -> AsyncIterator[tuple[Any, ...]]:
        """Return an async iterator of `(event, *args)`, one for each message on a channel from now on.

        Its `aclose` ends the listening, and so does dropping it.

        Args:
            channel: The channel.
            max_queue: Messages that may wait to be taken; then their senders are slowed down, and none is dropped.
            senders: Whose messages: "main", "renderers" or "any".

        Raises:
            TypeError: No channel.
            ValueError: No such senders.
        """
        mailbox = Mailbox(max_queue)
        mailbox.registration = self.on(channel, mailbox.put, senders=senders)
        self._arrivals.mailboxes.add(mailbox)
        return Incoming(mailbox, self._arrivals.post)

    async def wait_for(
        self, channel: str, timeout: float | None = None, *, senders: Senders = "main"
    ) -> tuple[Any, ...]:
        """Wait for the next message on a channel and return `(event, *args)`. Safe to cancel.

        Args:
            channel: The channel.
            timeout: Seconds until `InvokeTimeout`, or None.
            senders: Whose messages: "main", "renderers" or "any".

        Returns:
            The event and the arguments.

        Raises:
            InvokeTimeout: None came in time.
            ObjectDestroyedError: The renderer was closed meanwhile; `ConnectionLost` if it was lost for good.
        """
        check_timeout(timeout)
        future: asyncio.Future[tuple[Any, ...]] = self._checked().loop.create_future()

        def take(*message: Any) -> None:
            if not future.done():
                future.set_result(message)

        self._arrivals.waiting.add(future)
        try:
            with self.once(channel, take, senders=senders):
                async with asyncio.timeout(timeout):
                    message = await future
        except TimeoutError:
            assert timeout is not None
            raise InvokeTimeout(channel, timeout) from None
        finally:
            self._arrivals.waiting.discard(future)
        if not message:
            self._checked()
        return message

    async def drain(self, target: int | str | None = None) -> None:
        """Wait until what was sent has left, and the target (None: every one) keeps up. Safe to cancel.

        Args:
            target: The id or name of a renderer, 0 for the main process, or None.

        Raises:
            ConnectionLost: The connection was lost for good.
        """
        await self._checked().drain(target)

    # Private: what a subclass provides

    @property
    def _leaving(self) -> Leaving | None:
        """The quick way out, which looks itself whether anything can be said; None if there is none."""
        raise NotImplementedError

    def _checked(self) -> Session:
        """Return the session, or raise what makes every verb impossible."""
        raise NotImplementedError

    def _check_registering(self) -> None:
        """Raise if nothing can be registered any more, or not in this thread."""
        raise NotImplementedError

    # Private

    def _add_listener(self, *args: Any, **options: Any) -> Any:
        self._check_registering()
        return super()._add_listener(*args, **options)

    def _add_handler(self, *args: Any, **options: Any) -> Any:
        self._check_registering()
        return super()._add_handler(*args, **options)

    def _invoke(self, target: int | str, channel: str, args: tuple[object, ...], timeout: float | None) -> Reply:
        quick = self._leaving
        if timeout is None and quick is not None:
            reply = quick.invoke(target, channel, args, self._frame)
            if reply is not None:
                return reply
        return self._request(INVOKE, target, channel, args, timeout)

    def _request(
        self, kind: int, target: int | str, channel: str, args: tuple[object, ...], timeout: float | None
    ) -> Reply:
        session = self._checked()
        check_timeout(timeout)
        peer, name = check_target(target)
        raw = check_channel(channel)
        return session.invoke(kind, peer, name, channel, raw, encode(session, args), timeout, frame=self._frame)

    def _stream(self, target: int | str, channel: str, args: Sequence[object], timeout: float | None) -> Stream:
        return Stream(self._open_stream(target, channel, args, timeout))

    def _open_stream(
        self, target: int | str, channel: str, args: Sequence[object], timeout: float | None
    ) -> StreamReply:
        session = self._checked()
        check_timeout(timeout)
        peer, name = check_target(target)
        raw = check_channel(channel)
        return session.stream(peer, name, channel, raw, encode(session, args), timeout, frame=self._frame)


def encode(session: Session, args: Sequence[object]) -> Body:
    """Return the body of a message with these arguments, within what the broker takes."""
    assert session.welcome is not None
    return clone.encode_body(list(args), max_depth=session.welcome.limits.depth)
