"""MessageChannel and MessagePort: a way of its own between two owners, wherever its two ends go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, Self, TypeVar, overload

from mainbus import port_loop
from mainbus.emitter import Emitter
from mainbus.errors import LocalProtocolError, PortError
from mainbus.events import MESSAGE, MessageEvent
from mainbus.inbox import Inbox
from mainbus.listeners import Listeners
from mainbus.port_end import End
from mainbus.port_registry import PortRegistry
from mainbus.registration import Registration
from mainbus.target import Target
from mainbus.wire import clone
from mainbus.wire.port_table import MAX_PORTS

F = TypeVar("F", bound=Callable[..., object])

_CLOSE: Final = "close"
_EVENTS: Final = frozenset({_CLOSE})


class Handle(Protocol):
    """A port, as a transfer sees it."""

    @property
    def end(self) -> End | None:
        """The end that this is the handle of; None once it was transferred."""

    def check(self) -> End | None:
        """Return the end, or raise if the port is of another thread or process."""

    def release(self) -> End:
        """Give the end away."""


P = TypeVar("P", bound=Handle)


class MessagePort:
    """One end of a `MessageChannel`. Made by it, or received with a message (`event.ports`).

    What arrives waits until `start` (or an iteration) takes it. A port belongs to the thread of its loop. Posting on
    or closing a port that is closed, or that was transferred, does nothing. A port that was never started and that
    nobody holds any more is closed; one that was started lives as long as its channel.
    """

    __slots__ = ("__weakref__", "_emitter", "_end", "_listeners", "_loop")

    def __init__(self, end: End) -> None:
        self._end: End | None = end
        self._loop = end.loop
        self._emitter = Emitter(_EVENTS)
        self._listeners: Listeners[Target] | None = None
        end.own(self)

    # Public

    def post_message(self, message: object = None, transfer: Sequence[object] = ()) -> None:
        """Send a message to the other end, wherever it is; returns at once.

        Args:
            message: A value that structured clone can copy.
            transfer: Ports that go along; here they are of no use any more.

        Raises:
            CloneError: The message cannot be cloned; nothing was sent, and no port has left.
            PortError: `transfer` has something else than ports that can leave.
            SendQueueFull: Too much waits to be taken; `drain` waits until it was.
        """
        end = self._end
        if transfer == () and end is not None and end.post_quickly(message):
            return
        self._loop.owner.check()
        # Nearly always there is none, and then the checks cost more than the message.
        ports = check_transfer(transfer, end, end.registry if end is not None else None) if transfer != () else ()
        body = clone.encode(message, root="message")
        if end is not None and end.may_post:
            end.check_room(len(body))
            end.post(body, release(ports) if ports else [])

    def start(self) -> None:
        """Let what has arrived, and what will, be given to the listeners of "message"."""
        self._loop.owner.check()
        if self._end is not None:
            self._end.start()

    def close(self) -> None:
        """Close the channel. Both ends get "close", after what had been queued; a second call does nothing."""
        self._loop.owner.check()
        if self._end is not None:
            self._end.close()

    async def drain(self) -> None:
        """Wait until what was posted has left, and the other end keeps up. Safe to cancel."""
        self._loop.owner.check()
        end = self._end
        if end is not None:
            await end.wait_until(lambda: self._end is None or not end.may_post or end.keeps_up)
            if end.link is not None:
                await end.link.flushed()
            if end.registry is not None:
                await end.registry.drain()

    @overload
    def on(self, event: str, fn: None = None) -> Callable[[F], F]: ...
    @overload
    def on(self, event: str, fn: Callable[..., object]) -> Registration: ...
    def on(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with every "message" (a `MessageEvent`), or at the "close" (no argument).

        Args:
            event: "message" or "close".
            fn: The listener; without one this is a decorator, with one it returns a `Registration`.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
            TypeError: Not callable, or it cannot take the event.
            LocalProtocolError: The messages are taken by an iteration.
        """
        return self._add(event, fn, once=False)

    @overload
    def once(self, event: str, fn: None = None) -> Callable[[F], F]: ...
    @overload
    def once(self, event: str, fn: Callable[..., object]) -> Registration: ...
    def once(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function at the next such event only. Else as `on`.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; without one this is a decorator.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
            TypeError: Not callable, or it cannot take the event.
            LocalProtocolError: The messages are taken by an iteration.
        """
        return self._add(event, fn, once=True)

    def off(self, event: str, fn: Callable[..., object]) -> None:
        """Take out the latest registration of a listener.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; of one that is not registered nothing happens.

        Raises:
            ValueError: No such event.
        """
        self._loop.owner.check()
        if event != MESSAGE:
            self._emitter.off(event, fn)
        elif self._listeners is not None:
            self._listeners.remove_latest(MESSAGE, fn)

    add_listener = on
    remove_listener = off

    def __aiter__(self) -> Self:
        """Take messages by iteration, which starts the port and ends when it is closed."""
        self._loop.owner.check()
        if self._listeners is not None and self._listeners.get(MESSAGE):
            raise LocalProtocolError('this port has listeners of "message", which take what an iteration would take')
        if self._end is not None:
            self._end.pulled = True
            self._end.start()
        return self

    async def __anext__(self) -> MessageEvent:
        end = self._end
        if end is None:
            raise StopAsyncIteration
        await end.wait_until(lambda: self._end is None or bool(end.queue) or end.is_shut or end.is_over)
        if self._end is None:
            raise StopAsyncIteration
        message = end.take()
        if not end.queue:
            # Whoever stops here must hear of the end, too.
            end.schedule()
        if message is None:
            raise StopAsyncIteration
        return MessageEvent(*message)

    def __del__(self) -> None:
        # A finaliser runs in any thread, so it only posts to the loop.
        end = getattr(self, "_end", None)
        if end is not None and not end.finished:
            end.loop.drop(end)

    # For its end, and for a transfer

    def dispatch(self, inbox: Inbox, data: object, ports: list[MessagePort]) -> None:
        """Call the listeners of a message."""
        if self._listeners is not None:
            self._loop.dispatch.listeners(inbox, MessageEvent(data, ports), (), self._listeners.get(MESSAGE))

    def closed(self) -> None:
        """Tell the listeners of "close"."""
        self._emitter.emit(_CLOSE)

    @property
    def end(self) -> End | None:
        """The end that this is the handle of; None once it was transferred."""
        return self._end

    def check(self) -> End | None:
        """Return the end, in the thread that the port belongs to.

        Raises:
            RuntimeError: It is another thread.
        """
        self._loop.owner.check()
        return self._end

    def release(self) -> End:
        """Give the end away."""
        assert self._end is not None
        end, self._end = self._end, None
        end.detach()
        return end

    # Private

    def _add(self, event: str, fn: Callable[..., object] | None, *, once: bool) -> Any:
        self._loop.owner.check()
        if event != MESSAGE:
            add = self._emitter.once if once else self._emitter.on
            return add(event, fn) if fn is not None else add(event)
        if fn is not None:
            return self._listen(fn, once)

        def register(fn: F) -> F:
            self._listen(fn, once)
            return fn

        return register

    def _listen(self, fn: Callable[..., object], once: bool) -> Registration:
        if self._end is not None and self._end.pulled:
            raise LocalProtocolError("this port's messages are taken by an iteration")
        if self._listeners is None:
            self._listeners = Listeners()
        listeners, target = self._listeners, Target(fn, once=once, validate=False)
        listeners.add(MESSAGE, target)
        discard = lambda: listeners.remove(MESSAGE, target)  # noqa: E731
        if once:
            target.on_consume(discard)
        return Registration(discard)


class MessageChannel:
    """Two entangled ports: what is posted on one arrives at the other. Make it where a loop runs.

    Attributes:
        port1: One end.
        port2: The other one.
    """

    __slots__ = ("port1", "port2")

    def __init__(self) -> None:
        loop = port_loop.running(MessagePort)
        one, two = End(loop), End(loop)
        one.other, two.other = two, one
        self.port1 = MessagePort(one)
        self.port2 = MessagePort(two)


def check_transfer(
    transfer: Sequence[object] | None, source: End | None, registry: PortRegistry | None
) -> Sequence[MessagePort]:
    """Return the ports of a transfer if all of them can leave. As `check_ports`."""
    return check_ports(MessagePort, transfer, source, registry)


def check_ports(
    kind: type[P], transfer: Sequence[object] | None, source: End | None, registry: PortRegistry | None
) -> Sequence[P]:
    """Return the ports of a transfer if all of them can leave.

    Args:
        kind: What a port is here.
        transfer: What the user gave.
        source: The end that the message is posted on, if it is posted on a port.
        registry: The ports of the connection that the message leaves by, if it is known.

    Raises:
        PortError: Something else than a port, a port twice, one that is closed or was transferred, the port that
            the message is posted on, or one that came over another connection. The texts are Chromium's.
        RuntimeError: A port belongs to another thread.
    """
    if transfer is None:
        return ()
    if not isinstance(transfer, Sequence):
        raise PortError("Invalid value for transfer")
    ports = [port for port in transfer if isinstance(port, kind)]
    if len(ports) != len(transfer):
        raise PortError("Invalid value for transfer")
    for index, port in enumerate(ports):
        if source is not None and port.end is source:
            raise PortError(f"Port at index {index} contains the source port.")
    seen: set[Handle] = set()
    for index, port in enumerate(ports):
        if port in seen:
            raise PortError(f"Port at index {index} is a duplicate.")
        seen.add(port)
        end = port.check()
        if end is None or not end.may_leave:
            raise PortError(f"Port at index {index} is already neutered.")
        if registry is not None and end.registry not in (None, registry):
            raise PortError(f"Port at index {index} belongs to another connection.")
    if len(ports) > MAX_PORTS:
        raise PortError(f"Expected at most {MAX_PORTS} ports in one transfer, but found {len(ports)}")
    return ports


def release(ports: Sequence[Handle]) -> list[End]:
    """Take their ends from ports that `check_transfer` has let through: they leave."""
    return [port.release() for port in ports]
