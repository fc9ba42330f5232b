"""What arrives at a blocking renderer: queued by the reader thread, run in order where listeners run."""

from __future__ import annotations

import inspect
import logging
import time
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from mainbus.answers import Answers, log_raised
from mainbus.arrivals import accepts
from mainbus.blocking.loop import LoopThread
from mainbus.blocking.work import Job, Work
from mainbus.channels import Channels, Target
from mainbus.emitter import Emitter
from mainbus.errors import BadMessage, LimitExceeded, NoHandlerError, ValidationError
from mainbus.events import IpcRendererEvent, IpcRendererInvokeEvent
from mainbus.ports import MessagePort
from mainbus.renderer import IpcRenderer
from mainbus.session import Session
from mainbus.target import name_of
from mainbus.wire import clone
from mainbus.wire.connection import Message, text_of
from mainbus.wire.messages import WireLimits
from mainbus.wire.packets import MAIN, Kind

if TYPE_CHECKING:
    from mainbus.blocking.renderer import BlockingRenderer

EVENTS_KEPT: Final = 4096
"""Events of the connection that may wait; further ones are dropped."""

_OVERHEAD: Final = 64

log = logging.getLogger("mainbus")


class Arrivals:
    """The receiving half of a blocking renderer. The session calls it in the reader thread.

    Args:
        renderer: Whom events name as their `sender`.
        channels: What is listened to and handled.
        events: Where events of the connection itself are emitted.
        loop: The reader thread.
        work: Where listeners run.
        on_lost: Called when the connection is lost.
    """

    def __init__(
        self,
        renderer: BlockingRenderer,
        channels: Channels,
        events: Emitter,
        loop: LoopThread,
        work: Work,
        on_lost: Callable[[], None],
    ) -> None:
        self.session: Session
        # To whoever is called, the same API: that of the renderer which received it.
        self._renderer = cast(IpcRenderer, renderer)
        self._channels = channels
        self._events = events
        self._loop = loop
        self._work = work
        self._on_lost = on_lost
        self._invokes: dict[tuple[int, int], _Invoke] = {}
        self._events_waiting = 0
        self._answers = Answers(WireLimits().message, WireLimits().depth, tracebacks=False)

    # Public: the reader thread. What the session hands over

    def message(self, message: Message, ports: Sequence[MessagePort] = ()) -> None:
        """Queue a one-way message."""
        self._put(partial(self._run_message, message), message)

    def invoke(self, message: Message) -> None:
        """Queue an invoke."""
        value = message[5]
        invoke = _Invoke(message, time.monotonic() + value / 1000 if value else None)
        self._invokes[invoke.key] = invoke
        self._put(partial(self._run_invoke, invoke), message)

    def reply(self, message: Message) -> None:
        """Settle a pending call at once: the thread that waits for it may be the one that runs listeners."""
        kind, _, peer, request, _, value, _, channel, body = message
        calls, depth = self.session.calls, clone.MAX_DEPTH
        if kind == Kind.RESULT:
            fault = calls.result(request, body, depth)
        else:
            fault = calls.error(request, value, body, depth)
        if fault is not None:
            self._blame(peer, channel, fault)

    def cancel(self, peer: int, request: int, *, late: bool) -> None:
        """Answer an invoke that nobody waits for any more. A thread cannot be cancelled: what runs, runs on."""
        invoke = self._invokes.get((peer, request))
        if invoke is not None:
            late = late or invoke.is_late
            self._answer(invoke, self._answers.raised(invoke.channel, CancelledError(), late=late))

    def peer_left(self, peer: int) -> None:
        """Forget the invokes of a renderer that is gone."""
        for key in [key for key in self._invokes if key[0] == peer]:
            del self._invokes[key]

    def connected(self, limits: WireLimits) -> None:
        """Answer within what the broker takes."""
        self._answers = Answers(limits.message, limits.depth, tracebacks=False)

    def connection_lost(self) -> None:
        """Forget everything that was asked for on the connection that is gone. What was sent still arrives."""
        self._invokes.clear()
        with self._work.lock:
            self._work.paused.clear()
        self._on_lost()

    def end(self) -> None:
        """Wake what waits for messages: none will come any more."""
        self._work.end()

    def notify(self, event: str, *args: object) -> None:
        """Queue an event of the connection itself, in its place among the messages."""
        if self._events_waiting >= EVENTS_KEPT:
            log.warning("dropped the event %r%r: %d others wait for a listener to end", event, args, EVENTS_KEPT)
            return
        self._events_waiting += 1
        self._work.put(Job(partial(self._run_event, event, args)))

    # Private: the reader thread

    def _put(self, run: Callable[[], None], message: Message) -> None:
        peer = message[2]
        if self._work.put(Job(run, peer, len(message[8]) + _OVERHEAD, self._go_on)):
            self.session.notice(Kind.PAUSE, peer)

    def _answer(self, invoke: _Invoke, outcome: tuple[Kind, int, bytes]) -> None:
        # Once only, and not on another connection than it came on.
        if self._invokes.get(invoke.key) is invoke:
            del self._invokes[invoke.key]
            self.session.answer(*invoke.key, outcome)

    def _blame(self, peer: int, channel: str, fault: Exception) -> None:
        log.warning("a body from peer %d on channel %r does not decode: %s", peer, channel, fault)
        self.notify("message-error", peer, channel)
        if peer != MAIN:
            self.session.notice(Kind.BAD_MESSAGE, peer, channel=channel.encode())

    # Private: where listeners run

    def _go_on(self, peer: int) -> None:
        self._loop.post(partial(self.session.notice, Kind.RESUME, peer))

    def _run_event(self, event: str, args: tuple[object, ...]) -> None:
        self._loop.post(self._event_taken)
        self._events.emit(event, *args)

    def _event_taken(self) -> None:
        self._events_waiting -= 1

    def _run_message(self, message: Message) -> None:
        kind, flags, peer, _, _, _, name, channel, _ = message
        targets = [target for target in self._channels.listeners(channel) if accepts(target, peer)]
        if not targets:
            if peer and kind != Kind.BROADCAST:
                notice = partial(self.session.notice, Kind.UNDELIVERABLE, peer, flags=flags, channel=channel.encode())
                self._loop.post(partial(notice, body=b"nobody listens there"))
            return
        try:
            args = _decode(message)
        except (BadMessage, LimitExceeded) as fault:
            self._loop.post(partial(self._blame, peer, channel, fault))
            return
        event = IpcRendererEvent(channel, self._renderer, peer, text_of(name) if name else "")
        for target in targets:
            if target.once and not target.consume():
                continue
            self._listen(target, event, args)

    def _listen(self, target: Target, event: IpcRendererEvent, args: Sequence[object]) -> None:
        try:
            _call(target, event, target.fit(args))
        except Exception as error:
            log.error(
                "a listener of channel %r failed on a message from %s",
                event.channel,
                event.sender_label,
                exc_info=error,
            )

    def _run_invoke(self, invoke: _Invoke) -> None:
        if self._invokes.get(invoke.key) is not invoke:
            return  # cancelled while it waited
        try:
            outcome = self._handle(invoke)
        except (BadMessage, LimitExceeded) as fault:
            refusal = BadMessage(f"the arguments of {invoke.channel!r} do not decode")
            self._post_answer(invoke, self._answers.refused(refusal))
            # Behind the answer: the broker closes that renderer when it reads this.
            self._loop.post(partial(self._blame, invoke.key[0], invoke.channel, fault))
            return
        except BaseException as error:
            self._post_answer(invoke, self._answers.raised(invoke.channel, error, late=invoke.is_late))
            raise
        self._post_answer(invoke, outcome)

    def _handle(self, invoke: _Invoke) -> tuple[Kind, int, bytes]:
        channel = invoke.channel
        target = self._channels.handler(channel)
        if target is None or not accepts(target, invoke.key[0]):
            return self._answers.refused(NoHandlerError(channel))
        args = _decode(invoke.message)
        if target.once and not target.consume():
            return self._answers.refused(NoHandlerError(channel))
        try:
            args = target.fit(args, channel)
        except ValidationError as error:
            return self._answers.refused(error)
        event = invoke.event(self._renderer)
        try:
            value = _call(target, event, args)
        except Exception as error:  # noqa: BLE001 - it is the answer
            log_raised(log, event, error)
            return self._answers.raised(channel, error, late=invoke.is_late)
        return self._answers.result(value)

    def _post_answer(self, invoke: _Invoke, outcome: tuple[Kind, int, bytes]) -> None:
        # Behind what the handler has sent: a reply keeps its place.
        self._loop.post(partial(self._answer, invoke, outcome))


def _decode(message: Message) -> Sequence[object]:
    args = clone.decode(message[8])
    if not isinstance(args, list):
        raise BadMessage(f"the body of a message is a list of arguments, not {type(args).__name__}")
    return args


class _Invoke:
    """An invoke that was not answered."""

    __slots__ = ("deadline", "message")

    def __init__(self, message: Message, deadline: float | None) -> None:
        self.message = message
        self.deadline = deadline

    @property
    def key(self) -> tuple[int, int]:
        return self.message[2], self.message[3]

    @property
    def channel(self) -> str:
        return self.message[7]

    @property
    def is_late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def event(self, renderer: IpcRenderer) -> IpcRendererInvokeEvent:
        name = self.message[6]
        peer, request = self.key
        return IpcRendererInvokeEvent(
            self.channel, renderer, peer, text_of(name) if name else "", request, self.deadline
        )


def _call(target: Target, event: object, args: Sequence[object]) -> Any:
    result = target.fn(event, *args)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()  # it will never be awaited
        raise TypeError(
            f"{name_of(target.fn)}() returned an awaitable, and no loop runs here: mainbus.blocking calls plain "
            "functions; mainbus.connect is the API for coroutines"
        )
    return result
