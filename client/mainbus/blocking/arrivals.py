"""What arrives at a blocking renderer: queued by the reader thread, run in order where listeners run."""

from __future__ import annotations

import inspect
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

from mainbus.answers import Answers, Outcome, log_raised
from mainbus.arrivals import accepts
from mainbus.blocking.loop import LoopThread
from mainbus.blocking.streaming import Producer
from mainbus.blocking.work import Job, Work
from mainbus.channels import Channels, Target
from mainbus.emitter import Emitter
from mainbus.errors import (
    BadMessage,
    InvokeTimeout,
    LimitExceeded,
    NoHandlerError,
    ReplyNeverSent,
    ValidationError,
    from_wire,
)
from mainbus.events import IpcMessageEvent, IpcRendererEvent, IpcRendererInvokeEvent
from mainbus.hosting import IPC_MESSAGE, GuestState
from mainbus.ports import MessagePort
from mainbus.renderer import IpcRenderer
from mainbus.session import Session
from mainbus.target import name_of
from mainbus.user_frames import user_frames
from mainbus.wire import clone
from mainbus.wire.messages import WireLimits
from mainbus.wire.packets import HOST, MAIN, Kind, Message, Taker, text_of

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
        self.taker: Taker | None = None
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
        self._drops_events = False
        self.told: Counter[str] = Counter()
        """Events of the connection so far, by name."""
        self._answers = Answers(WireLimits().message, WireLimits().depth, tracebacks=False)

    # Public: the reader thread. What the session hands over

    def message(self, message: Message, ports: Sequence[MessagePort] = ()) -> None:
        """Queue a one-way message, and the ports that came with it."""
        self._put(partial(self._run_message, message, ports), message)

    def invoke(self, message: Message) -> None:
        """Queue an invoke, or the request of a stream."""
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
        elif kind == Kind.ITEM:
            fault = calls.item(request, body, depth)
        else:
            fault = calls.error(request, value, body, depth)
        if fault is not None:
            self._blame(peer, channel, fault)

    def cancel(self, peer: int, request: int, *, late: bool) -> None:
        """Answer an invoke that nobody waits for any more. A thread cannot be cancelled: what runs, runs on."""
        invoke = self._invokes.get((peer, request))
        if invoke is not None:
            invoke.give_up()
            error = from_wire(InvokeTimeout.wire_code if late else ReplyNeverSent.wire_code, invoke.channel, "")
            self._answer(invoke, self._answers.refused(error))

    def demand(self, peer: int, request: int, credit: int) -> None:
        """Let a stream go on."""
        invoke = self._invokes.get((peer, request))
        if invoke is not None and invoke.producer is not None:
            invoke.producer.credited(credit)

    def peer_left(self, peer: int) -> None:
        """Forget the invokes of a renderer that is gone."""
        for key in [key for key in self._invokes if key[0] == peer]:
            self._invokes.pop(key).give_up()

    def guest(self, guest: GuestState, event: str, peer: int) -> None:
        """Queue an event of a guest, in its place among the messages."""
        self._work.put(Job(partial(self._tell_guest, guest, event, peer)))

    def connected(self, limits: WireLimits) -> None:
        """Answer within what the broker takes."""
        self._answers = Answers(limits.message, limits.depth, tracebacks=False)

    def connection_lost(self) -> None:
        """Forget everything that was asked for on the connection that is gone. What was sent still arrives."""
        for invoke in self._invokes.values():
            invoke.give_up()
        self._invokes.clear()
        with self._work.lock:
            self._work.paused.clear()
        self._on_lost()

    @property
    def streams(self) -> int:
        """How many streams are produced here."""
        return sum(invoke.producer is not None for invoke in list(self._invokes.values()))

    def end(self) -> None:
        """Wake what waits for messages: none will come any more."""
        self.session.frames.end()
        self.session.hosting.end()
        self._work.end()

    def notify(self, event: str, *args: object) -> None:
        """Queue an event of the connection itself, in its place among the messages."""
        self.told[event] += 1
        if self._events_waiting >= EVENTS_KEPT:
            if not self._drops_events:
                log.warning("dropping events, now %r%r: %d wait for a listener to end", event, args, EVENTS_KEPT)
            self._drops_events = True
            return
        self._drops_events = False
        self._events_waiting += 1
        self._work.put(Job(partial(self._run_event, event, args)))

    # Private: the reader thread

    def _put(self, run: Callable[[], None], message: Message) -> None:
        peer = message[2]
        if self._work.put(Job(run, peer, len(message[8]) + _OVERHEAD, self._go_on)):
            self.session.notice(Kind.PAUSE, peer)

    def _answer(self, invoke: _Invoke, outcome: Outcome) -> None:
        # Once only, and not on another connection than it came on.
        if self._invokes.get(invoke.key) is invoke:
            del self._invokes[invoke.key]
            self.session.answer(*invoke.key, outcome)

    def _item(self, invoke: _Invoke, outcome: Outcome) -> None:
        if self._invokes.get(invoke.key) is invoke:
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

    def _run_message(self, message: Message, ports: Sequence[MessagePort]) -> None:
        kind, flags, peer, _, _, _, name, channel, _ = message
        as_peer, sender, channels = peer, self._renderer, self._channels
        if flags & HOST:
            guest = self.session.hosting.guest(peer)
            if guest is not None:
                self._run_guest_message(guest, message)
                return
            if not self.session.hosting.was_host(peer):
                return
            as_peer = MAIN
        elif message[4] and not peer:
            frame = self.session.frames.get(message[4])
            if frame is None:
                return  # it has been closed since: as if nobody listened
            sender, channels = cast(IpcRenderer, frame.owner), frame.owner
        targets = [target for target in channels.listeners(channel) if accepts(target, as_peer)]
        if not targets:
            if peer and kind != Kind.BROADCAST:
                notice = partial(self.session.notice, Kind.UNDELIVERABLE, peer, flags=flags, channel=channel.encode())
                self._loop.post(partial(notice, body=b"nobody listens there"))
            return
        args = self._args(message)
        if args is None:
            return
        event = IpcRendererEvent(channel, sender, peer, text_of(name) if name else "", ports, from_host=as_peer != peer)
        for target in targets:
            if target.once and not target.consume():
                continue
            self._listen(target, event, args)

    def _run_guest_message(self, guest: GuestState, message: Message) -> None:
        targets = guest.messages.listeners(IPC_MESSAGE)
        if not targets:
            return
        args = self._args(message)
        if args is None:
            return
        event = IpcMessageEvent(message[7], guest, message[2], args)
        for target in targets:
            if not target.once or target.consume():
                self._listen(target, event, ())

    def _args(self, message: Message) -> Sequence[object] | None:
        """Return the arguments of a one-way message; None if there are none to be had, which is told."""
        try:
            return _decode(message)
        except (BadMessage, LimitExceeded) as fault:
            self._loop.post(partial(self._blame, message[2], message[7], fault))
        except MemoryError:
            self._loop.post(self.session.no_memory)
        return None

    def _tell_guest(self, guest: GuestState, event: str, peer: int) -> None:
        if event == "destroyed":
            self._loop.post(partial(self.session.hosting.forget, peer))
        guest.emitter.emit(event)

    def _listen(self, target: Target, event: IpcRendererEvent | IpcMessageEvent, args: Sequence[object]) -> None:
        try:
            call(target, event, target.fit(args))
        except Exception as error:
            log.error(
                "a listener of channel %r failed on a message from %s",
                event.channel,
                event.sender_label,
                exc_info=user_frames(error),
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
            self._post_answer(invoke, self._answers.raised(invoke.channel, error))
            raise
        if outcome is not None:
            self._post_answer(invoke, outcome)

    def _handle(self, invoke: _Invoke) -> Outcome | None:
        """Return the answer; None for a stream that has begun, which answers by itself."""
        channel, sender, channels = invoke.channel, self._renderer, self._channels
        if invoke.message[4] and not invoke.key[0]:
            frame = self.session.frames.get(invoke.message[4])
            if frame is None:
                return self._answers.refused(ReplyNeverSent(channel))
            sender, channels = cast(IpcRenderer, frame.owner), frame.owner
        target = channels.handler(channel)
        if target is None or not accepts(target, invoke.key[0]):
            return self._answers.refused(NoHandlerError(channel))
        args = _decode(invoke.message)
        if target.once and not target.consume():
            return self._answers.refused(NoHandlerError(channel))
        try:
            args = target.fit(args, channel)
        except ValidationError as error:
            return self._answers.refused(error)
        event = invoke.event(sender)
        try:
            value = call(target, event, args)
            if isinstance(value, Generator):
                self._stream(invoke, event, value)
                return None
            if invoke.is_stream:
                self._send_item(invoke, value)
                value = None
        except Exception as error:  # noqa: BLE001 - it is the answer
            log_raised(log, event, error)
            return self._answers.raised(channel, error)
        return self._answers.returned(log, event, value)

    def _stream(self, invoke: _Invoke, event: IpcRendererInvokeEvent, generator: Generator[Any, Any, Any]) -> None:
        if not invoke.is_stream:
            raise TypeError(
                f"the handler of {invoke.channel!r} streams its result: ask with stream(), not with invoke()"
            )

        def end(error: BaseException | None) -> None:
            if error is None:
                self._post_answer(invoke, self._answers.result(None))
            else:
                log_raised(log, event, error)
                self._post_answer(invoke, self._answers.raised(invoke.channel, error))

        producer = Producer(generator, self._work, partial(self._send_item, invoke), end)
        with self._work.lock:
            invoke.producer = producer
            if invoke.is_given_up:
                producer.cancel()
        producer.step()

    def _send_item(self, invoke: _Invoke, item: object) -> int:
        outcome = self._answers.item(item)
        self._loop.post(partial(self._item, invoke, outcome))
        return len(outcome[2])

    def _post_answer(self, invoke: _Invoke, outcome: Outcome) -> None:
        # Behind what the handler has sent: a reply keeps its place.
        self._loop.post(partial(self._answer, invoke, outcome))


def _decode(message: Message) -> Sequence[object]:
    args = clone.decode(message[8])
    if not isinstance(args, list):
        raise BadMessage(f"the body of a message is a list of arguments, not {type(args).__name__}")
    return args


class _Invoke:
    """An invoke, or the request of a stream, that was not answered."""

    __slots__ = ("deadline", "is_given_up", "message", "producer")

    def __init__(self, message: Message, deadline: float | None) -> None:
        self.message = message
        self.deadline = deadline
        self.producer: Producer | None = None
        """What sends the items of a stream that has begun."""
        self.is_given_up = False

    def give_up(self) -> None:
        """End the stream that it may be: nobody takes its items any more."""
        self.is_given_up = True
        if self.producer is not None:
            self.producer.cancel()

    @property
    def is_stream(self) -> bool:
        return self.message[0] == Kind.STREAM

    @property
    def key(self) -> tuple[int, int]:
        return self.message[2], self.message[3]

    @property
    def channel(self) -> str:
        return self.message[7]

    def event(self, renderer: IpcRenderer) -> IpcRendererInvokeEvent:
        name = self.message[6]
        peer, request = self.key
        return IpcRendererInvokeEvent(
            self.channel, renderer, peer, text_of(name) if name else "", request, self.deadline
        )


def call(target: Target, event: object, args: Sequence[object]) -> Any:
    """Call a listener or handler; it must be a plain function."""
    result = target.fn(event, *args)
    if inspect.isawaitable(result) or isinstance(result, AsyncGenerator):
        if inspect.iscoroutine(result):
            result.close()  # it will never be awaited
        kind = "an async generator" if isinstance(result, AsyncGenerator) else "an awaitable"
        raise TypeError(
            f"{name_of(target.fn)}() returned {kind}, and no loop runs here: mainbus.blocking calls plain "
            "functions; mainbus.connect is the API for coroutines"
        )
    return result
