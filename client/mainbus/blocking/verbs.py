"""BlockingVerbs: what a blocking renderer, or a frame of it, can say and hear, from any thread."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from mainbus.blocking.loop import LoopThread
from mainbus.blocking.messages import Mailbox, Messages
from mainbus.blocking.port_end import LOCK, BlockingEnd
from mainbus.blocking.ports import MessagePort
from mainbus.blocking.registry import LockedChannels
from mainbus.blocking.streams import Items
from mainbus.blocking.sync_lane import SyncCall
from mainbus.blocking.waiter import Waiter
from mainbus.blocking.work import Work
from mainbus.channels import check_channel
from mainbus.errors import InvokeTimeout, MainbusError, MessageTooLarge, SendQueueFull
from mainbus.lane_threads import BROKER_THREADS
from mainbus.names import check_target
from mainbus.outgoing import MAX_UNSENT
from mainbus.ports import check_ports
from mainbus.reply import Reply
from mainbus.route_table import BROADCASTS
from mainbus.session import Session
from mainbus.streams import StreamReply
from mainbus.target import Senders
from mainbus.timeouts import check_timeout
from mainbus.wire import clone
from mainbus.wire.messages import WireLimits
from mainbus.wire.packets import HEADER_SIZE, MAIN, Kind
from mainbus.wire.pieces import Body

log = logging.getLogger("mainbus")


class BlockingVerbs(LockedChannels):
    """The verbs of a blocking renderer, over the reader thread of whoever has them."""

    __slots__ = ("_loop", "_work")

    _loop: LoopThread
    _work: Work
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
        self._send(Kind.SEND, MAIN, channel, args)

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
        with LOCK:
            check_ports(MessagePort, transfer, None, session.ports)
        raw, body = check_channel(channel), self._encode((message,))
        ends: list[BlockingEnd] = []
        post = partial(self._post, session, raw, body, ends)
        with LOCK:
            # Again: another thread may have used them meanwhile.
            ports = check_ports(MessagePort, transfer, None, session.ports)
            self._loop.post_verb(post, HEADER_SIZE + len(body), partial(self._check_room, MAIN))
            ends += [port.release() for port in ports]

    def invoke(self, channel: str, *args: object, timeout: float | None = None) -> Any:
        """Invoke a handler of the main process and wait for its result.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.

        Returns:
            What the handler has returned.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            RemoteError: The handler raised (`NoHandlerError`: there is none, `ReplyNeverSent`: it went away).
            InvokeTimeout: No result in time; the handler is cancelled.
            ConnectionLost: The connection was lost meanwhile.
            RuntimeError: This is the thread of the broker's own loop, which would wait for itself.
        """
        return self._invoke(Kind.INVOKE, MAIN, channel, args, timeout)

    def stream(self, channel: str, *args: object, timeout: float | None = None) -> Items:
        """Ask a handler of the main process for a stream of items; the request leaves at the call.

        The generator at the other end waits while this end does not take its items.

        Args:
            channel: The channel, whose handler is an async generator; any other yields its one result.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, for the whole stream, or None.

        Returns:
            A plain iterator and context manager; iterating raises what `invoke` would.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            LocalProtocolError: The renderer is not open.
        """
        return self._stream(MAIN, channel, args, timeout)

    def send_sync(self, channel: str, *args: object, timeout: float = 30) -> Any:
        """Send a message to the main process and wait until a listener sets `event.return_value`.

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
        session = self._waiting()
        check_timeout(timeout)
        call = SyncCall(channel, check_channel(channel), self._encode(args), timeout, self._frame)
        room = partial(self._check_room, MAIN)
        return self._loop.wait(partial(self._start_sync, session, call), HEADER_SIZE + len(call.body), room)

    # Public: to other renderers

    def send_to(self, target: int | str, channel: str, *args: object) -> None:
        """Send a message to another renderer; returns at once. If it cannot be delivered, "undeliverable" is raised.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must listen with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.

        Raises:
            As `send`.
        """
        self._send(Kind.SEND, target, channel, args)

    def invoke_to(self, target: int | str, channel: str, *args: object, timeout: float | None = None) -> Any:
        """Invoke another renderer's handler and wait for its result. As `invoke`; it may also raise `NoSuchRenderer`.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must handle it with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.

        Returns:
            What the handler has returned.

        Raises:
            NoSuchRenderer: There is none of that id or name.
            RemoteError: The handler raised; and whatever else `invoke` raises.
        """
        return self._invoke(Kind.INVOKE, target, channel, args, timeout)

    def stream_to(self, target: int | str, channel: str, *args: object, timeout: float | None = None) -> Items:
        """Ask another renderer's handler for a stream of items. As `stream`; it may also raise `NoSuchRenderer`.

        Args:
            target: The id or name of the renderer; 0 is the main process.
            channel: The channel; the other one must handle it with `senders="renderers"` or `"any"`.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, for the whole stream, or None.

        Returns:
            An iterator of the items, and a context manager.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            NoSuchRenderer: When iterated: there is none of that id or name.
        """
        return self._stream(target, channel, args, timeout)

    def broadcast(self, channel: str, *args: object) -> None:
        """Send a message to every other renderer; returns at once. As `send`.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            MessageTooLarge: It is larger than the broker takes; nothing was sent.
            SendQueueFull: 64 MiB wait here already, since the target does not keep up.
        """
        self._send(Kind.BROADCAST, MAIN, channel, args)

    def drain(self, target: int | str | None = None) -> None:
        """Wait until what was sent has left, and the target (None: every one) keeps up.

        Args:
            target: The id or name of a renderer, 0 for the main process, or None.

        Raises:
            ConnectionLost: The connection was lost for good.
        """
        session = self._waiting()
        self._loop.wait(lambda waiter: waiter.follow(session.loop.create_task(session.drain(target))))

    # Public: receiving

    def listen(self, channel: str, max_queue: int = 1024, *, senders: Senders = "main") -> Messages:
        """Return an iterator of `(event, *args)`, one for each message on a channel from now on.

        Args:
            channel: The channel.
            max_queue: Messages that may wait to be taken; then no listener is run until one was, and none is dropped.
            senders: Whose messages: "main", "renderers" or "any".

        Raises:
            TypeError: No channel.
            ValueError: No such senders.
        """
        mailbox = Mailbox(self._work, max_queue)
        mailbox.registration = self.on(channel, mailbox.put, senders=senders)
        return self._messages(mailbox)

    def wait_for(self, channel: str, timeout: float | None = None, *, senders: Senders = "main") -> tuple[Any, ...]:
        """Wait for the next message on a channel and return `(event, *args)`.

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
        self._waiting()
        check_timeout(timeout)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        found: list[tuple[Any, ...]] = []

        def take(*message: Any) -> None:
            found.append(message)
            self._work.notify()

        with self.once(channel, take, senders=senders):
            if not self._work.run_until(lambda: found or self._is_over(), deadline):
                assert timeout is not None
                raise InvokeTimeout(channel, timeout)
        if not found:
            self._checked()
        return found[0]

    # Private: what a subclass provides

    def _opened(self) -> Session:
        """Return the session, or raise why there is none."""
        raise NotImplementedError

    def _start_sync(self, session: Session, call: SyncCall, waiter: Waiter) -> None:
        """Start a `send_sync`, in the reader thread."""
        raise NotImplementedError

    def _is_over(self) -> bool:
        """Whether no message will come any more."""
        raise NotImplementedError

    def _messages(self, mailbox: Mailbox) -> Messages:
        """Return an iterator of what is put into a mailbox."""
        return Messages(self._work, mailbox, self._loop.post)

    def _track(self, reply: Reply) -> None:
        """Note an invoke, or a stream, that has begun, in the reader thread."""

    # Private: any thread

    def _checked(self) -> Session:
        session = self._opened()
        session.check()
        return session

    def _waiting(self) -> Session:
        """Check that this thread may wait for the broker."""
        session = self._checked()
        welcome = session.welcome
        if welcome is not None and BROKER_THREADS.get(welcome.instance) == threading.get_ident():
            raise RuntimeError(
                "the thread of the broker's own loop would wait for itself; use mainbus.connect there, or a thread"
            )
        return session

    def _encode(self, args: Sequence[object]) -> Body:
        welcome = self._opened().welcome
        limits = welcome.limits if welcome is not None else WireLimits()
        body = clone.encode_body(list(args), max_depth=limits.depth)
        if len(body) > limits.message:
            raise MessageTooLarge(len(body), limits.message)
        return body

    def _check_room(self, route: int | str, waiting: int) -> None:
        session = self._opened()
        if waiting + session.outbox.queued + session.routes.size(route) >= MAX_UNSENT:
            raise SendQueueFull(MAX_UNSENT)

    def _send(self, kind: Kind, target: int | str, channel: str, args: Sequence[object], flags: int = 0) -> None:
        session = self._checked()
        peer, name = check_target(target)
        raw, body = check_channel(channel), self._encode(args)
        call = partial(session.send, kind, peer, name, raw, body, frame=self._frame, flags=flags, accepted=True)
        route = BROADCASTS if kind == Kind.BROADCAST else peer if name is None else name
        self._loop.post_verb(call, HEADER_SIZE + len(body), partial(self._check_room, route))

    def _invoke(
        self, kind: Kind, target: int | str, channel: str, args: Sequence[object], timeout: float | None
    ) -> Any:
        session = self._waiting()
        check_timeout(timeout)
        peer, name = check_target(target)
        raw, body = check_channel(channel), self._encode(args)

        def start(waiter: Waiter) -> None:
            session.check()
            reply = session.invoke(kind, peer, name, channel, raw, body, timeout, frame=self._frame, accepted=True)
            self._track(reply)
            waiter.follow(reply)

        room = partial(self._check_room, peer if name is None else name)
        return self._loop.wait(start, HEADER_SIZE + len(body), room)

    def _stream(self, target: int | str, channel: str, args: Sequence[object], timeout: float | None) -> Items:
        session = self._waiting()
        check_timeout(timeout)
        peer, name = check_target(target)
        raw, body = check_channel(channel), self._encode(args)
        opened: list[StreamReply] = []

        def start(waiter: Waiter) -> None:
            session.check()
            reply = session.stream(peer, name, channel, raw, body, timeout, frame=self._frame, accepted=True)
            opened.append(reply)
            self._track(reply)
            waiter.succeed(None)

        try:
            room = partial(self._check_room, peer if name is None else name)
            self._loop.wait(start, HEADER_SIZE + len(body), room)
        except BaseException:
            self._loop.post(lambda: [reply.cancel() for reply in opened])
            raise
        return Items(self._loop, opened[0])

    # Private: the reader thread

    def _post(self, session: Session, channel: bytes, body: Body, ends: list[BlockingEnd]) -> None:
        with LOCK:
            try:
                session.check()
            except MainbusError:
                log.debug("a message with %d ports was dropped: the connection is lost for good", len(ends))
                for end in ends:
                    end.lost()
            else:
                session.post(channel, body, ends, self._frame)
