"""What arrives for the main process: finds its listeners and handlers and runs them in order, renderer by renderer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from mainbus.answers import Answers, Outcome, log_raised
from mainbus.channels import Target
from mainbus.deadlines import Deadlines
from mainbus.dispatch import Dispatch
from mainbus.errors import (
    BadMessage,
    LimitExceeded,
    MainbusError,
    NoHandlerError,
    ReplyNeverSent,
    TooManyRequests,
)
from mainbus.user_frames import user_frames
from mainbus.wire import clone, packets
from mainbus.wire.packets import ERROR, HEADER_SIZE, INVOKE, ITEM, MAIN, RESULT, STREAM, Kind, Message, plain, text_of

from mainbus_broker.events import IpcMainEvent, IpcMainInvokeEvent, SyncReply
from mainbus_broker.ipc_main import IpcMain
from mainbus_broker.peer import Peer
from mainbus_broker.queries import ASKED_WITH_ARGS, answer_query
from mainbus_broker.web_contents import Level
from mainbus_broker.web_frame import WebFrameMain

if TYPE_CHECKING:
    from mainbus.ports import MessagePort

    from mainbus_broker.hub import Hub
    from mainbus_broker.lane_end import LaneEnd, NoLane

_OVERHEAD: Final = 64
_UNDECODABLE: Final = "sent a body on channel {!r} that does not decode"
_REPLIES: Final = frozenset({RESULT, ERROR, ITEM})
_CALLS: Final = frozenset({INVOKE, STREAM})

log = logging.getLogger("mainbus.broker")


class MainProcess:
    """The receiving half of the main process.

    Args:
        hub: The broker.
        ipc_main: What is listened to and handled for every renderer.
    """

    def __init__(self, hub: Hub, ipc_main: IpcMain) -> None:
        config = hub.config
        self.ipc_main = ipc_main
        self.draining = False
        """Whether no handler may start any more."""
        self._hub = hub
        self._depth = config.limits.depth
        self._answers = Answers(config.limits.message, config.limits.depth, config.tracebacks)
        self._deadlines: Deadlines[tuple[Peer, int]] = Deadlines(hub.loop, self._runs, self._expire)
        self.dispatch = Dispatch(
            hub.loop,
            answer=self._answer,
            item=self._item,
            raised=self._raised,
            refuse=self._refuse,
            report=self._report,
            cancel_grace=config.cancel_grace,
        )
        self._start: dict[int, Callable[[Peer, Message], bool]] = plain(
            {
                Kind.SEND: self._start_message,
                Kind.POST: self._start_message,
                Kind.INVOKE: self._start_invoke,
                Kind.STREAM: self._start_invoke,
                Kind.RESULT: self._settle,
                Kind.ERROR: self._settle,
                Kind.ITEM: self._settle,
                Kind.QUERY: self._start_query,
                Kind.FRAME: self._start_frame,
                Kind.FRAME_CLOSED: self._end_frame,
            }
        )

    # Public

    def accept(self, peer: Peer, message: Message, ports: Sequence[MessagePort] = ()) -> None:
        """Start what a renderer has sent to the main process when its turn has come."""
        inbox = peer.inbox
        kind = message[0]
        start = self._start[kind]
        if ports:
            start = partial(self._start_message, ports=ports)
        if kind == ITEM and not self._counts(peer, message):
            return
        if inbox.clear or (kind in _REPLIES and not inbox.waiting):
            inbox.starting = len(message[8]) + _OVERHEAD
            start(peer, message)
            return
        # No pause holds answers up, so what may wait here is bounded by what was asked for.
        if kind not in (Kind.RESULT, Kind.ERROR) or (peer.has_calls and peer.calls.expects(message[3])):
            self._wait(peer, partial(start, peer, message), message)

    def sync(self, peer: Peer, message: Message, lane: LaneEnd | NoLane) -> None:
        """Start a `send_sync`, in its place, when its turn has come."""
        if peer.inbox.clear:
            peer.inbox.starting = len(message[8]) + _OVERHEAD
            self._start_sync(peer, message, lane)
        else:
            self._wait(peer, partial(self._start_sync, peer, message, lane), message)

    def cancel(self, peer: Peer, request: int) -> None:
        """Cancel a handler that runs, or waits to."""
        self.dispatch.cancel(peer.inbox, request)

    def demand(self, peer: Peer, request: int, credit: int) -> None:
        """Let a stream go on."""
        self.dispatch.demand(peer.inbox, request, credit)

    def used(self, peer: Peer, request: int) -> int | None:
        """Return what a stream that a renderer takes has used of its credit; None if there is none."""
        producer = peer.inbox.streams.get(request)
        return producer.used if producer is not None else None

    def forget(self, peer: Peer) -> None:
        """Cancel what a renderer that is gone has running here."""
        if peer.has_inbox:
            self.dispatch.cancel_all(peer.inbox)
            peer.inbox.forget_replies()

    def abandon(self, peer: Peer) -> None:
        """Answer what a renderer has asked and will get no answer to: the broker stops."""
        for request, running in peer.inbox.requests() if peer.has_inbox else ():
            if running.task is not None:
                self._put(peer, request, self._answers.refused(ReplyNeverSent(running.task.get_name())))
        if peer.lane is not None:
            for request, channel in peer.lane.unanswered():
                peer.lane.answer(request, self._answers.refused(ReplyNeverSent(channel)))

    def bad_message(self, peer: Peer, channel: str, fault: str = "") -> None:
        """Count a body that did not decode against its sender, and close it at the limit.

        Args:
            peer: The sender.
            channel: What it was sent on.
            fault: What is wrong with it, where that is known.
        """
        peer.bad_messages += 1
        self._hub.counters["bad_messages"] += 1
        self._hub.emit("message-error", peer.contents, channel)
        if peer.bad_messages >= self._hub.config.limits.max_bad_messages and not peer.closing:
            peer.close(f"{_UNDECODABLE.format(channel)}{fault and f': {fault}'}", blame=True)
        elif not peer.closing:
            log.warning("%s %s%s", peer.label, _UNDECODABLE.format(channel), fault and f": {fault}")

    def close(self) -> None:
        """Forget the deadlines of what has ended: the broker has stopped."""
        self._deadlines.clear()

    # Private

    def _wait(self, peer: Peer, start: Callable[[], bool], message: Message) -> None:
        request = message[3] if message[0] in _CALLS else 0
        peer.inbox.add(start, len(message[8]) + _OVERHEAD, request, is_reply=message[0] in _REPLIES)
        if not peer.by_lane and message[0] not in _REPLIES and message[0] != Kind.SYNC:
            self._hub.flow.added_to_main(peer, len(message[8]) + _OVERHEAD)
        elif peer.inbox.size > peer.limits.backlog and not peer.closing:
            peer.close(f"{peer.inbox.size} bytes that no pause holds back wait for the main process", blame=True)

    def _listen(self, peer: Peer, frame: WebFrameMain, event: IpcMainEvent, args: Sequence[object], what: str) -> bool:
        """Call who listens to a message, after the contents' own event; False if some have to wait."""
        levels = peer.contents.levels(what, frame, event.channel, args)
        if not levels:
            return self.dispatch.listeners(peer.inbox, event, args, self.ipc_main.listeners(event.channel))
        return self._level(peer, event, (*levels, (self.ipc_main, event.channel, args)))

    def _level(self, peer: Peer, event: IpcMainEvent, levels: Sequence[Level]) -> bool:
        # Each is looked at when its turn has come: every one of Node's emitters has a snapshot of its own.
        (ipc, channel, args), rest = levels[0], levels[1:]
        then = partial(self._level, peer, event, rest) if rest else None
        return self.dispatch.listeners(peer.inbox, event, args, ipc.listeners(channel), then=then)

    def _handler(self, frame: WebFrameMain, peer: Peer, channel: str) -> Target | None:
        for ipc in peer.contents.registries(frame):
            target = ipc.handler(channel)
            if target is not None:
                return target
        return self.ipc_main.handler(channel)

    def _start_message(self, peer: Peer, message: Message, ports: Sequence[MessagePort] = ()) -> bool:
        contents = peer.contents
        args = self._decode(peer, message)
        if args is None:
            return True
        frame = contents.frame(message[4])
        event = IpcMainEvent(message[7], contents, frame, ports=ports)
        return self._listen(peer, frame, event, args, "ipc-message")

    def _start_sync(self, peer: Peer, message: Message, lane: LaneEnd | NoLane) -> bool:
        _, _, _, request, frame_id, value, _, channel, _ = message
        contents = peer.contents
        frame = contents.frame(frame_id)
        args = self._decode(peer, message)
        if args is None:
            lane.answer(request, self._answers.refused(BadMessage(f"the arguments of {channel!r} do not decode")))
            return True
        never = partial(lane.answer, request, self._answers.refused(ReplyNeverSent(channel)))
        reply = SyncReply(self._hub.loop, lambda value: lane.answer(request, self._answers.result(value)), never)
        event = IpcMainEvent(channel, contents, frame, reply)
        # The event must not outlive its listeners because of us, so only the reply is told of the time limit.
        limit = self._hub.config.sync_reply_timeout
        if value and value / 1000 <= limit:
            # The caller gives up by itself then, and says why.
            lane.limit(request, value / 1000, partial(lane.forget, request))
        else:
            lane.limit(request, limit, never)
        return self._listen(peer, frame, event, args, "ipc-message-sync")

    def _start_invoke(self, peer: Peer, message: Message) -> bool:
        kind, _, _, request, frame_id, value, _, channel, _ = message
        contents, inbox = peer.contents, peer.inbox
        frame = contents.frame(frame_id)
        is_stream = kind == STREAM
        bound = self._hub.stream_bound(peer) if is_stream else self._bound(peer)
        deadline = self._hub.loop.time() + value / 1000 if value else None
        event = IpcMainInvokeEvent(channel, contents, frame, request, deadline)
        target = self._handler(frame, peer, channel)
        if target is None:
            self._refuse(event, NoHandlerError(channel))
        elif bound is not None:
            self._hub.refuse(peer, bound)
            self._refuse(event, bound)
        elif request in inbox.handlers or request in inbox.streams:
            peer.close(f"request {request} is pending already", blame=True)
        elif self.draining:
            self._refuse(event, ReplyNeverSent(channel))
        elif (args := self._decode(peer, message)) is None:
            self._refuse(event, BadMessage(f"the arguments of {channel!r} do not decode"))
        else:
            run = self.dispatch.stream if is_stream else self.dispatch.handler
            started = run(inbox, event, args, target)
            if value and (not started or self._runs((peer, request))):
                self._deadlines.add(value / 1000, (peer, request))
            return started
        return True

    def _start_query(self, peer: Peer, message: Message) -> bool:
        args = self._decode(peer, message) if message[7] in ASKED_WITH_ARGS else ()
        if args is None:
            outcome = self._answers.refused(BadMessage(f"the arguments of {message[7]!r} do not decode"))
        else:
            outcome = answer_query(self._hub, peer, message[7], args, self._answers)
        self._put(peer, message[3], outcome)
        return True

    def _start_frame(self, peer: Peer, message: Message) -> bool:
        _, _, _, request, frame_id, parent_id, name, _, _ = message
        if peer.contents.has_used(frame_id):
            peer.close(f"frame {frame_id} was opened before", blame=True)
            return True
        outcome = self._answers.result(None)
        try:
            peer.contents.open_frame(frame_id, text_of(name), parent_id)
        except MainbusError as error:
            if isinstance(error, LimitExceeded):
                self._hub.refuse(peer, error)
            outcome = self._answers.refused(error)
        if request:
            self._put(peer, request, outcome)
        return True

    def _end_frame(self, peer: Peer, message: Message) -> bool:
        peer.contents.close_frame(message[4])
        return True

    def _settle(self, peer: Peer, message: Message) -> bool:
        kind, _, _, request, _, value, _, _, body = message
        if peer.has_calls:
            if kind == RESULT:
                fault = peer.calls.result(request, body, self._depth)
            elif kind == ITEM:
                fault = peer.calls.item(request, body, self._depth)
            else:
                fault = peer.calls.error(request, value, body, self._depth)
            peer.inbox.hold_for_awaiter()
            if fault is not None:
                self._blame(peer, message[7], fault)
        return True

    def _counts(self, peer: Peer, message: Message) -> bool:
        """Count an item that has arrived out of its stream's credit; False if it had none, or is no stream's."""
        stream = peer.calls.stream(message[3]) if peer.has_calls else None
        if stream is None:
            return False
        if stream.is_full:
            peer.close(f"sent an item of request {message[3]} beyond its credit", blame=True)
            return False
        stream.arrived(len(message[8]))
        return True

    def _bound(self, peer: Peer) -> TooManyRequests | None:
        limit = self._hub.config.limits.running
        return TooManyRequests(limit) if len(peer.inbox.handlers) >= limit else None

    def _decode(self, peer: Peer, message: Message) -> Sequence[object] | None:
        try:
            args = clone.decode(message[8], max_depth=self._depth)
            if isinstance(args, list):
                return args
            raise BadMessage(f"the body of a message is a list of arguments, not {type(args).__name__}")
        except (BadMessage, LimitExceeded) as fault:
            self._blame(peer, message[7], fault)
            return None
        except MemoryError:
            peer.no_memory()
            return None

    def _blame(self, peer: Peer, channel: str, fault: Exception) -> None:
        # After the answer to it has been queued: closing lets what is queued leave.
        self._hub.loop.call_soon(self.bad_message, peer, channel, str(fault))

    def _runs(self, key: tuple[Peer, int]) -> bool:
        peer, request = key
        inbox = peer.inbox
        return request in inbox.handlers or request in inbox.streams or inbox.waits_for(request)

    def _expire(self, key: tuple[Peer, int]) -> None:
        peer, request = key
        self._hub.counters["timeouts"] += 1
        self.dispatch.cancel(peer.inbox, request, late=True)

    # Callbacks of the dispatch

    def _answer(self, event: IpcMainInvokeEvent, value: object) -> None:
        self._reply(event, self._answers.returned(log, event, value))

    def _item(self, event: IpcMainInvokeEvent, value: object) -> int:
        outcome = self._answers.item(value)
        self._reply(event, outcome)
        return len(outcome[2])

    def _raised(self, event: IpcMainInvokeEvent, error: BaseException) -> None:
        log_raised(log, event, error)
        self._reply(event, self._answers.raised(event.channel, error))

    def _refuse(self, event: IpcMainInvokeEvent, error: MainbusError) -> None:
        self._reply(event, self._answers.refused(error))

    def _reply(self, event: IpcMainInvokeEvent, outcome: Outcome) -> None:
        # Looked up by the fixed id: the renderer may be gone, and then nobody waits.
        peer = self._hub.renderers.ids.get(event.sender.id)
        if peer is not None:
            self._put(peer, event.request_id, outcome)

    def _put(self, peer: Peer, request: int, outcome: Outcome) -> None:
        kind, value, body = outcome
        peer.route.reply(packets.message(kind, MAIN, request, body, value=value), HEADER_SIZE + len(body))
        peer.charge(HEADER_SIZE + len(body))
        if peer.lane is not None:
            # It may wait for this handler to end.
            peer.lane.look_again()

    def _report(self, error: BaseException, event: IpcMainEvent) -> None:
        log.error(
            "a listener of channel %r failed on a message from %s",
            event.channel,
            event.sender_label,
            exc_info=user_frames(error),
        )
        self._hub.emit("listener-error", error, event.channel, event.sender)
