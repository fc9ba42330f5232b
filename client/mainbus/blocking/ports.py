"""MessageChannel and MessagePort without a loop: any thread may use them, listeners run where a renderer's run."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, cast, overload

from mainbus.blocking.arrivals import call
from mainbus.blocking.port_end import LOCK, BlockingEnd, Home, drop
from mainbus.blocking.registry import LockedListeners
from mainbus.emitter import Emitter
from mainbus.errors import LocalProtocolError, ObjectDestroyedError
from mainbus.ports import MessagePort as AsyncPort
from mainbus.ports import check_ports, release
from mainbus.registration import Registration
from mainbus.target import Target
from mainbus.timeouts import check_timeout
from mainbus.wire import clone

if TYPE_CHECKING:
    from mainbus.blocking.renderer import BlockingRenderer

F = TypeVar("F", bound=Callable[..., object])

_MESSAGE: Final = "message"
_CLOSE: Final = "close"

log = logging.getLogger("mainbus")


class MessageEvent:
    """What a "message" listener of a port is called with, and what an iteration gives.

    Attributes:
        data: The message.
        ports: The MessagePorts that came with it; a list, empty for most.
    """

    __slots__ = ("data", "ports")

    def __init__(self, data: Any, ports: list[MessagePort]) -> None:
        self.data = data
        self.ports = ports


class MessagePort:
    """One end of a `MessageChannel`. Made by it, or received with a message (`event.ports`).

    What arrives waits until `start` (or an iteration) takes it. Any thread may call everything. Listeners are plain
    functions that run one at a time, in order, where the listeners of the port's renderer run; the sender slows down
    until they have. Posting on or closing a port that is closed, or that was transferred, does nothing. A port that
    was never started and that nobody holds any more is closed; one that was started lives as long as its channel.
    """

    __slots__ = ("__weakref__", "_emitter", "_end", "_listeners", "_pid")

    def __init__(self, end: BlockingEnd) -> None:
        self._end: BlockingEnd | None = end
        self._pid = os.getpid()
        self._emitter = _Closing()
        self._listeners: LockedListeners[Target] = LockedListeners()
        end.own(cast(AsyncPort, self))

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
        self.check()
        with LOCK:
            self._check_transfer(transfer)
        body = clone.encode(message, root="message")
        with LOCK:
            # Again: another thread may have used them meanwhile.
            ports = self._check_transfer(transfer)
            end = self._end
            if end is not None and end.may_post:
                end.check_room(len(body))
                end.post(body, release(ports))

    def start(self) -> None:
        """Let what has arrived, and what will, be given to the listeners of "message"."""
        self.check()
        with LOCK:
            if self._end is not None:
                self._end.start()

    def close(self) -> None:
        """Close the channel. Both ends get "close", after what had been queued; a second call does nothing."""
        self.check()
        with LOCK:
            if self._end is not None:
                self._end.close()

    def drain(self, timeout: float | None = None) -> None:
        """Wait until what was posted has left, and the other end keeps up.

        Args:
            timeout: Seconds until `TimeoutError`, or None.

        Raises:
            TimeoutError: The other end does not keep up.
        """
        self.check()
        check_timeout(timeout)
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        end = self._end
        if end is not None and not end.wait_for(
            lambda: self._end is not end or not end.may_post or end.keeps_up, deadline
        ):
            raise TimeoutError(f"what was posted on this port was not taken within {timeout:g} s")

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
        self.check()
        if event != _MESSAGE:
            self._emitter.off(event, fn)
        else:
            self._listeners.remove_latest(_MESSAGE, fn)

    add_listener = on
    remove_listener = off

    def __iter__(self) -> Self:
        """Take messages by iteration, which starts the port and ends when it is closed. Each goes to one thread."""
        self.check()
        if self._listeners.get(_MESSAGE):
            raise LocalProtocolError('this port has listeners of "message", which take what an iteration would take')
        with LOCK:
            if self._end is not None:
                self._end.pulled = True
                self._end.start()
        return self

    def __next__(self) -> MessageEvent:
        end = self._end
        if end is None:
            raise StopIteration
        posted = None
        while posted is None:
            try:
                end.wait_for(lambda: self._end is not end or end.queue or end.is_shut or end.is_over)
            except ObjectDestroyedError:
                raise StopIteration from None
            with LOCK:
                if self._end is not end:
                    raise StopIteration
                posted = end.pull()
                if not end.queue:
                    # Whoever stops here must hear of the end, too.
                    end.schedule()
                    if posted is None and (end.is_shut or end.is_over):
                        raise StopIteration
        message = end.read(posted)
        if message is None:
            raise StopIteration
        return MessageEvent(*message)

    def __del__(self) -> None:
        # A finaliser runs in any thread, maybe one that has some lock: it only notes it. At the end of the process
        # not even that: a thread that was stopped for good may have a lock that is needed to tell the reader thread.
        end = getattr(self, "_end", None)
        if end is not None and not end.finished and not sys.is_finalizing() and self._pid == os.getpid():
            drop(end)

    # For its end, and for a transfer

    def deliver(self, data: object, ports: list[MessagePort]) -> None:
        """Call the listeners of a message."""
        event = MessageEvent(data, ports)
        for target in self._listeners.get(_MESSAGE):
            if target.once and not target.consume():
                continue
            try:
                call(target, event, ())
            except Exception as error:
                log.error("a listener of a port failed on a message", exc_info=error)

    def closed(self) -> None:
        """Tell the listeners of "close"."""
        self._emitter.emit(_CLOSE)

    @property
    def end(self) -> BlockingEnd | None:
        """The end that this is the handle of; None once it was transferred."""
        return self._end

    def check(self) -> BlockingEnd | None:
        """Return the end, in the process that the port belongs to.

        Raises:
            RuntimeError: It is a fork of that one.
        """
        if self._pid != os.getpid():
            raise RuntimeError("this port belongs to the process that made it, and not to a fork, which has no threads")
        return self._end

    def release(self) -> BlockingEnd:
        """Give the end away."""
        assert self._end is not None
        end, self._end = self._end, None
        end.detach()
        return end

    # Private

    def _check_transfer(self, transfer: Sequence[object]) -> Sequence[MessagePort]:
        end = self._end
        return check_ports(MessagePort, transfer, end, end.registry if end is not None else None)

    def _add(self, event: str, fn: Callable[..., object] | None, *, once: bool) -> Any:
        self.check()
        if event != _MESSAGE:
            add = self._emitter.once if once else self._emitter.on
            return add(event, fn) if fn is not None else add(event)
        if fn is not None:
            return self._listen(fn, once)

        def register(fn: F) -> F:
            self._listen(fn, once)
            return fn

        return register

    def _listen(self, fn: Callable[..., object], once: bool) -> Registration:
        listeners, target = self._listeners, Target(fn, once=once)
        with LOCK:
            if self._end is not None and self._end.pulled:
                raise LocalProtocolError("this port's messages are taken by an iteration")
            listeners.add(_MESSAGE, target)
        discard = lambda: listeners.remove(_MESSAGE, target)  # noqa: E731
        if once:
            target.on_consume(discard)
        return Registration(discard)


class MessageChannel:
    """Two entangled ports: what is posted on one arrives at the other.

    Args:
        renderer: With whose listeners those of the two ports run. Once one of the ports leaves by a renderer, those
            of the other one run with that renderer's. None: until then listeners wait, and only an iteration takes
            messages.

    Attributes:
        port1: One end.
        port2: The other one.
    """

    __slots__ = ("port1", "port2")

    def __init__(self, renderer: BlockingRenderer | None = None) -> None:
        home = renderer.home if renderer is not None else _NOWHERE
        one, two = home.new_end(), home.new_end()
        one.other, two.other = two, one
        self.port1 = MessagePort(one)
        self.port2 = MessagePort(two)


class _Closing(Emitter):
    """The "close" of a port, for threads."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(frozenset({_CLOSE}))
        self._listeners = LockedListeners()


_NOWHERE: Final = Home(MessagePort)
