"""What arrives at a renderer: finds its listeners and handlers and runs them in order, sender by sender."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, cast

from mainbus.answers import Answers, log_raised
from mainbus.channels import Channels, Target
from mainbus.dispatch import Dispatch
from mainbus.emitter import Emitter
from mainbus.errors import BadMessage, LimitExceeded, MainbusError, NoHandlerError, ReplyNeverSent, TooManyRequests
from mainbus.events import IpcMessageEvent, IpcRendererEvent, IpcRendererInvokeEvent
from mainbus.hosting import IPC_MESSAGE, GuestState
from mainbus.inbox import Inbox
from mainbus.ports import MessagePort
from mainbus.quick import COMPILED
from mainbus.session import Session
from mainbus.user_frames import user_frames
from mainbus.waiters import Waiters
from mainbus.wire import clone
from mainbus.wire.messages import WireLimits
from mainbus.wire.packets import BROADCAST, HOST, INVOKE, ITEM, MAIN, RESULT, STREAM, Kind, Message, Taker, text_of

if COMPILED:
    from mainbus.arrivals_fast import QuickArrivals

if TYPE_CHECKING:
    from mainbus.renderer import IpcRenderer

RUNNING: Final = 256
"""Handlers that one sender may have running here at a time, and as many tasks of listeners."""

HIGH: Final = 1024 * 1024
LOW: Final = 256 * 1024
"""Bytes of one sender that may wait here before it is asked to pause, and to go on."""

CANCEL_GRACE: Final = 5.0
_LIMITS: Final = (WireLimits().message, WireLimits().depth)
_ANSWERS: Final = Answers(*_LIMITS, tracebacks=False)
"""For what most brokers take."""
_INBOXES_KEPT: Final = 1024
_OVERHEAD: Final = 64

log = logging.getLogger("mainbus")


class Arrivals(Waiters):
    """The receiving half of a renderer.

    Args:
        renderer: Whom events name as their `sender`.
        channels: What is listened to and handled.
        events: Emits the events of the connection itself.
    """

    def __init__(self, renderer: IpcRenderer, channels: Channels, events: Emitter) -> None:
        super().__init__()
        self.told: dict[str, int] = {}
        """How many events of the connection there were, by name."""
        self._events = events
        self.session: Session
        self._dispatch: Dispatch | None = None
        self._renderer = renderer
        self._channels = channels
        self._inboxes: dict[int, Inbox] = {}
        self._paused: dict[int, None] = {}
        """Who was asked to pause. No set: an empty one has 216 bytes."""
        self._waits_for_opener = True
        self._answers = _ANSWERS
        self.taker: Taker | None = QuickArrivals(self, renderer, channels) if COMPILED else None

    # Public

    def attach(self, session: Session) -> None:
        """Take the session whose arrivals these are."""
        self.session = session
        self._loop = session.loop

    @property
    def dispatch(self) -> Dispatch:
        """What runs listeners and handlers, made when first needed."""
        if self._dispatch is None:
            self._dispatch = Dispatch(
                self.session.loop,
                answer=self._answer,
                item=self._item,
                raised=self._raised,
                refuse=self._refuse,
                report=self._report,
                cancel_grace=CANCEL_GRACE,
            )
        return self._dispatch

    def start(self) -> None:
        """Dispatch what has arrived, now that the task which opened the renderer has suspended."""
        self._waits_for_opener = False
        for inbox in self._inboxes.values():
            inbox.release()
        self.session.start_dispatch()

    def notify(self, event: str, *args: object) -> object:
        """Emit an event of the connection itself; the first ones wait for the opener, too."""
        self.told[event] = self.told.get(event, 0) + 1
        if self._waits_for_opener and self._loop is not None:
            return self._loop.call_soon(partial(self._events.emit, event, *args))
        return self._events.emit(event, *args)

    @property
    def is_clear(self) -> bool:
        """Whether nothing that has arrived waits for its turn."""
        return all(inbox.quiet for inbox in self._inboxes.values())

    @property
    def running(self) -> int:
        """How many listeners and handlers are under way."""
        return len(self._dispatch.tasks) if self._dispatch is not None else 0

    @property
    def streams(self) -> int:
        """How many streams are produced here."""
        return sum(len(inbox.streams) for inbox in self._inboxes.values())

    def end(self) -> None:
        """End what waits for messages: none will come any more."""
        super().end()
        self.session.frames.end()
        self.session.hosting.end()

    # What the session hands over

    def message(self, message: Message, ports: Sequence[MessagePort] = ()) -> None:
        """Start the listeners of a one-way message when its turn has come."""
        start = self._start_message
        self._accept(message, partial(start, ports=ports) if ports else start)

    def invoke(self, message: Message) -> None:
        """Start the handler of an invoke when its turn has come."""
        self._accept(message, self._start_invoke)

    def reply(self, message: Message) -> None:
        """Settle a pending call, after the listeners of what was sent before the reply."""
        inbox = self._inboxes.get(message[2]) or self._inbox(message[2])
        if inbox.waiting:
            inbox.add(partial(self._settle, inbox, message), len(message[8]) + _OVERHEAD, is_reply=True)
        else:
            self._settle(inbox, message)

    def cancel(self, peer: int, request: int, *, late: bool) -> None:
        """Cancel a handler that runs, or waits to. `late`: since its caller's deadline has passed."""
        inbox = self._inboxes.get(peer)
        if inbox is not None:
            self.dispatch.cancel(inbox, request, late=late)

    def demand(self, peer: int, request: int, credit: int) -> None:
        """Let a stream go on."""
        inbox = self._inboxes.get(peer)
        if inbox is not None:
            self.dispatch.demand(inbox, request, credit)

    def peer_left(self, peer: int) -> None:
        """Cancel what a renderer that is gone has running here."""
        inbox = self._inboxes.pop(peer, None)
        if inbox is not None:
            self.dispatch.cancel_all(inbox)
        self._paused.pop(peer, None)

    def guest(self, guest: GuestState, event: str, peer: int) -> None:
        """Emit an event of a guest behind what it has sent."""
        inbox = self._inboxes.get(peer) or self._inbox(peer)
        if inbox.clear:
            self._tell_guest(guest, event, peer)
        else:
            inbox.add(partial(self._tell_guest, guest, event, peer), 0)

    def connected(self, limits: WireLimits) -> None:
        """Answer within what the broker takes."""
        found = (limits.message, limits.depth)
        self._answers = _ANSWERS if found == _LIMITS else Answers(*found, tracebacks=False)

    def connection_lost(self) -> None:
        """Cancel everything that was asked for on the connection that is gone."""
        for peer in list(self._inboxes):
            self.peer_left(peer)

    # Private

    def _inbox(self, peer: int) -> Inbox:
        inbox = self._inboxes.get(peer)
        if inbox is None:
            if len(self._inboxes) >= _INBOXES_KEPT:
                self._inboxes = {p: i for p, i in self._inboxes.items() if not i.idle}
            inbox = self._inboxes[peer] = Inbox(self.session.loop, RUNNING, partial(self._on_low, peer))
            if self._waits_for_opener:
                inbox.hold()
        return inbox

    def _accept(self, message: Message, start: Callable[[Inbox, Message], bool]) -> None:
        peer = message[2]
        inbox = self._inbox(peer)
        size = len(message[8]) + _OVERHEAD
        if inbox.clear:
            inbox.starting = size
            start(inbox, message)
            return
        inbox.add(partial(start, inbox, message), size, message[3])
        if inbox.size > HIGH and peer not in self._paused:
            self._paused[peer] = None
            self.session.notice(Kind.PAUSE, peer)

    def _on_low(self, peer: int) -> None:
        if peer in self._paused and self._inbox(peer).size < LOW:
            self._paused.pop(peer, None)
            self.session.notice(Kind.RESUME, peer)

    def _start_message(self, inbox: Inbox, message: Message, ports: Sequence[MessagePort] = ()) -> bool:
        kind, _, peer, _, _, _, name, channel, _ = message
        as_peer, sender, channels = peer, self._renderer, self._channels
        if message[1] & HOST:
            guest = self.session.hosting.guest(peer)
            if guest is not None:
                return self._start_guest_message(guest, inbox, message)
            if not self.session.hosting.was_host(peer):
                return True
            as_peer = MAIN
        elif message[4] and not peer:
            frame = self.session.frames.get(message[4])
            if frame is None:
                # It has been closed since: as if nobody listened.
                return True
            sender, channels = cast("IpcRenderer", frame.owner), frame.owner
        targets = accepting(channels.listeners(channel), as_peer)
        if not targets:
            if peer and kind != BROADCAST:
                self.session.notice(
                    Kind.UNDELIVERABLE, peer, flags=message[1], channel=channel.encode(), body=b"nobody listens there"
                )
            return True
        args = self._decode(message)
        if args is None:
            return True
        sender_name = text_of(name) if name else ""
        event = IpcRendererEvent(channel, sender, peer, sender_name, ports, from_host=as_peer != peer)
        return self.dispatch.listeners(inbox, event, args, targets)

    def _tell_guest(self, guest: GuestState, event: str, peer: int) -> bool:
        if event == "destroyed":
            self.session.hosting.forget(peer)
        guest.emitter.emit(event)
        return True

    def _start_guest_message(self, guest: GuestState, inbox: Inbox, message: Message) -> bool:
        targets = guest.messages.listeners(IPC_MESSAGE)
        args = self._decode(message) if targets else None
        if args is None:
            return True
        event = IpcMessageEvent(message[7], guest, message[2], args)
        return self.dispatch.listeners(inbox, event, (), targets)

    def _start_invoke(self, inbox: Inbox, message: Message) -> bool:
        kind, _, peer, request, frame_id, value, name, channel, _ = message
        frame = self.session.frames.get(frame_id) if frame_id and not peer else None
        sender, channels = self._renderer, self._channels
        if frame is not None:
            sender, channels = cast("IpcRenderer", frame.owner), frame.owner
        deadline = self.session.loop.time() + value / 1000 if value else None
        sender_name = text_of(name) if name else ""
        event = IpcRendererInvokeEvent(channel, sender, peer, sender_name, request, deadline)
        event.link = self.session.link
        if frame_id and not peer and frame is None:
            # It has been closed since.
            self._refuse(event, ReplyNeverSent(channel))
            return True
        target = channels.handler(channel)
        if target is None or not accepts(target, peer):
            self._refuse(event, NoHandlerError(channel))
            return True
        assert self.session.welcome is not None
        credit = self.session.welcome.credit
        if kind == INVOKE and len(inbox.handlers) >= credit:
            self._refuse(event, TooManyRequests(credit))
            return True
        args = self._decode(message)
        if args is None:
            self._refuse(event, BadMessage(f"the arguments of {channel!r} do not decode"))
            return True
        run = self.dispatch.stream if kind == STREAM else self.dispatch.handler
        return run(inbox, event, args, target)

    def _settle(self, inbox: Inbox, message: Message) -> bool:
        kind, _, peer, request, _, value, _, channel, body = message
        calls, depth = self.session.calls, clone.MAX_DEPTH
        if kind == RESULT:
            fault = calls.result(request, body, depth)
        elif kind == ITEM:
            fault = calls.item(request, body, depth)
        else:
            fault = calls.error(request, value, body, depth)
        inbox.hold_for_awaiter()
        if fault is not None:
            self._blame(peer, channel, fault)
        return True

    def _decode(self, message: Message) -> Sequence[object] | None:
        peer, channel, body = message[2], message[7], message[8]
        try:
            args = clone.decode(body)
            if isinstance(args, list):
                return args
            raise BadMessage(f"the body of a message is a list of arguments, not {type(args).__name__}")
        except (BadMessage, LimitExceeded) as fault:
            self._blame(peer, channel, fault)
            return None
        except MemoryError:
            pass
        self.session.no_memory()
        return None

    def _blame(self, peer: int, channel: str, fault: Exception) -> None:
        log.warning("a body from peer %d on channel %r does not decode: %s", peer, channel, fault)
        self.notify("message-error", peer, channel)
        if peer != MAIN:
            # Behind the answer to it: the broker closes that renderer when it reads this.
            self.session.loop.call_soon(partial(self.session.notice, Kind.BAD_MESSAGE, peer, channel=channel.encode()))

    # Callbacks of the dispatch

    def _answer(self, event: IpcRendererInvokeEvent, value: object) -> None:
        if event.link is self.session.link:
            self.session.answer(event.sender_id, event.request_id, self._answers.returned(log, event, value))

    def _item(self, event: IpcRendererInvokeEvent, value: object) -> int:
        outcome = self._answers.item(value)
        if event.link is self.session.link:
            self.session.answer(event.sender_id, event.request_id, outcome)
        return len(outcome[2])

    def _raised(self, event: IpcRendererInvokeEvent, error: BaseException) -> None:
        log_raised(log, event, error)
        if event.link is self.session.link:
            self.session.answer(event.sender_id, event.request_id, self._answers.raised(event.channel, error))

    def _refuse(self, event: IpcRendererInvokeEvent, error: MainbusError) -> None:
        if event.link is self.session.link:
            self.session.answer(event.sender_id, event.request_id, self._answers.refused(error))

    def _report(self, error: BaseException, event: IpcRendererEvent) -> None:
        log.error(
            "a listener of channel %r failed on a message from %s",
            event.channel,
            event.sender_label,
            exc_info=user_frames(error),
        )


def accepting(targets: tuple[Target, ...], peer: int) -> tuple[Target, ...]:
    """Return the listeners that take what comes from `peer`; nearly always it is all of them."""
    for target in targets:
        if not accepts(target, peer):
            return tuple(target for target in targets if accepts(target, peer))
    return targets


def accepts(target: Target, peer: int) -> bool:
    """Whether a listener or handler takes what comes from `peer` (0: the main process)."""
    return target.takes_main if peer == MAIN else target.takes_renderers
