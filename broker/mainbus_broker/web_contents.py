"""WebContents: a renderer as the main process sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mainbus.channels import check_channel
from mainbus.emitter import Emitter
from mainbus.errors import MessageTooLarge, ObjectDestroyedError, SendQueueFull, TooManyRequests
from mainbus.ports import check_transfer, release
from mainbus.reply import Reply
from mainbus.streams import Stream
from mainbus.timeouts import check_timeout, milliseconds
from mainbus.wire import clone, packets
from mainbus.wire.packets import HEADER_SIZE, MAIN, Kind
from mainbus.wire.pieces import Body, Packet

from mainbus_broker.frames import Frames
from mainbus_broker.ipc_main import IpcMain
from mainbus_broker.listeners import Process
from mainbus_broker.web_frame import WebFrameMain

if TYPE_CHECKING:
    from mainbus_broker.hub import Hub
    from mainbus_broker.peer import Peer

EVENTS: Final = frozenset({"destroyed", "ipc-message", "ipc-message-sync"})
MESSAGES: Final = frozenset({"ipc-message", "ipc-message-sync"})
"""Those of them whose listeners are run as a channel's are: in order, reported when they raise."""

Level: TypeAlias = tuple[IpcMain, str, Sequence[object]]
"""One of those who are asked in turn for their listeners: registry, channel, arguments."""


class WebContents:
    """A connected renderer, as the main process sees it (Electron's `webContents`).

    A method on one that is gone raises `ObjectDestroyedError`; `id`, `name`, `role`, `process` and `data` still work.

    Attributes:
        id: From 1, never used again.
        name: The name that the renderer asked for, or None.
        role: The role that it was given, or None.
        process: pid, uid, gid and executable, from the kernel.
    """

    __slots__ = (
        "_data",
        "_destroyed",
        "_emitter",
        "_frames",
        "_hub",
        "_ipc",
        "_messages",
        "_peer",
        "_plain_frame",
        "_ready",
        "id",
        "name",
        "process",
        "role",
    )

    def __init__(self, hub: Hub, peer: Peer) -> None:
        self.id: int = peer.id
        self.name: str | None = peer.name
        self.role: str | None = peer.role
        self.process: Process = peer.process
        self._hub = hub
        self._peer = peer
        self._plain_frame: WebFrameMain | None = None
        """The main frame, once it has sent something, while only `ipc_main` can listen to that; else None."""
        self._destroyed = False
        self._frames: Frames | None = None
        self._ipc: IpcMain | None = None
        self._emitter: Emitter | None = None
        self._messages: IpcMain | None = None
        self._data: dict[Any, Any] | None = None
        self._ready: asyncio.Future[None] | bool = False

    # Public: attributes made when first asked for

    @property
    def data(self) -> dict[Any, Any]:
        """Whatever the application wants to keep with this renderer."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def main_frame(self) -> WebFrameMain:
        """The frame with id 0."""
        return self._own_frames().main

    @property
    def frames(self) -> list[WebFrameMain]:
        """All frames, the main frame first."""
        return self._own_frames().all()

    @property
    def host_web_contents(self) -> WebContents | None:
        """The renderer that this one is a guest of, while that is connected; else None."""
        host = self._peer.hosted.host if self._peer.hosted is not None else None
        return host.contents if host is not None else None

    @property
    def ipc(self) -> IpcMain:
        """Listeners and handlers for this renderer only; asked before `ipc_main`."""
        if self._ipc is None:
            self._ipc = self.new_ipc()
        return self._ipc

    @property
    def label(self) -> str:
        """The renderer as the log names it."""
        return self._peer.label

    # Public: events

    def on(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with every "destroyed" (no arguments), "ipc-message" or "ipc-message-sync" (event, channel,
        args). Without a function it is a decorator; with one it returns a `Registration`.

        Args:
            event: One of the three; "destroyed" comes once.
            fn: The listener.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
            TypeError: Not callable, or it cannot take the event.
        """
        registry = self._registry(event)
        return registry.on(event, fn) if fn is not None else registry.on(event)

    def once(self, event: str, fn: Callable[..., object] | None = None) -> Any:
        """Call a function with the next such event only. Else as `on`.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; without one this is a decorator.

        Returns:
            A `Registration`; without a function a decorator that returns the function.

        Raises:
            ValueError: No such event.
            TypeError: Not callable, or it cannot take the event.
        """
        registry = self._registry(event)
        return registry.once(event, fn) if fn is not None else registry.once(event)

    def off(self, event: str, fn: Callable[..., object]) -> None:
        """Take out the latest registration of a function.

        Args:
            event: The event's name, as in `on`.
            fn: The listener; of one that is not registered nothing happens.

        Raises:
            ValueError: No such event.
        """
        self._registry(event).off(event, fn)

    add_listener = on
    remove_listener = off

    # Public: verbs

    def send(self, channel: str, *args: object) -> None:
        """Send a message to the renderer; returns at once.

        Args:
            channel: The channel; whoever listens there gets the event and the arguments.
            args: Values that structured clone can copy.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            SendQueueFull: The renderer does not keep up; `drain` waits until it does.
            ObjectDestroyedError: The renderer is gone.
            PermissionDenied: Its role does not let it listen there.
        """
        self._send(Kind.SEND, channel, list(args))

    def send_to_frame(self, frame_id: int, channel: str, *args: object) -> None:
        """Send a message to one frame of the renderer. As `send`.

        Args:
            frame_id: The frame; 0 is the main frame.
            channel: The channel.
            args: Values that structured clone can copy.

        Raises:
            ObjectDestroyedError: The renderer has no such frame.
        """
        self._check_frame(frame_id)
        self._send(Kind.SEND, channel, list(args), frame_id)

    def post_message(self, channel: str, message: object, transfer: Sequence[object] = ()) -> None:
        """Send one message; the listener gets `(event, message)`. As `send`.

        Args:
            channel: The channel.
            message: A value that structured clone can copy.
            transfer: MessagePorts that go along (`event.ports`); here they are of no use any more.

        Raises:
            PortError: `transfer` has something else than ports that can leave; nothing was sent.
        """
        self.post_to_frame(0, channel, message, transfer)

    def invoke(self, channel: str, *args: object, timeout: float | None = None) -> Reply:
        """Invoke the renderer's handler; the request leaves at the call, awaited or not.

        Args:
            channel: The channel.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, or None.

        Returns:
            A `Reply`: the result, or a `RemoteError`, when awaited.

        Raises:
            CloneError: An argument cannot be cloned; nothing was sent.
            PermissionDenied: The renderer's role does not let it handle the channel.
            SendQueueFull: The renderer does not keep up, or answers too little; `drain` waits until it does.
            TooManyRequests: `limits.pending` invokes of this renderer have no answer yet.
            ObjectDestroyedError: The renderer is gone.
        """
        return self.invoke_frame(0, channel, args, timeout)

    def stream(self, channel: str, *args: object, timeout: float | None = None) -> Stream:
        """Ask the renderer's handler for a stream of items; the request leaves at the call.

        Args:
            channel: The channel, whose handler is an async generator; any other yields its one result.
            args: Values that structured clone can copy.
            timeout: Seconds until `InvokeTimeout`, for the whole stream, or None.

        Returns:
            A `Stream`, an async iterator and async context manager.

        Raises:
            PermissionDenied: The renderer's role does not let it handle the channel.
            TooManyRequests: `limits.streams` of this renderer are open.
            CloneError, SendQueueFull, ObjectDestroyedError: As `invoke`.
        """
        return self.stream_frame(0, channel, args, timeout)

    async def drain(self) -> None:
        """Wait until what was sent has left and the renderer keeps up. Safe to cancel.

        Raises:
            ObjectDestroyedError: The renderer is gone, or went meanwhile.
        """
        peer = self._alive()
        await peer.outbox.wait_until(
            lambda: self._destroyed or (peer.outbox.idle and not peer.route.size and not peer.route.paused)
        )
        self._alive()

    async def ready(self) -> None:
        """Wait until the renderer dispatches what it is sent. Safe to cancel.

        Raises:
            ObjectDestroyedError: The renderer is gone, or went meanwhile.
        """
        self._alive()
        if self._ready is False:
            self._ready = self._hub.loop.create_future()
        if isinstance(self._ready, asyncio.Future):
            await asyncio.shield(self._ready)

    def is_destroyed(self) -> bool:
        """Tell whether the renderer is gone.

        Returns:
            True from the moment its "destroyed" is raised.
        """
        return self._destroyed

    def close(self, reason: str = "closed by the main process") -> None:
        """End the renderer's connection; it gets `reason` with its "disconnected" event.

        Args:
            reason: A text for the log and the renderer.

        Raises:
            ObjectDestroyedError: The renderer is gone.
        """
        self._alive().close(reason)

    # For its frames

    def post_to_frame(self, frame_id: int, channel: str, message: object, transfer: Sequence[object]) -> None:
        """Send one message to a frame. As `post_message`."""
        peer = self._check_frame(frame_id)
        ports = check_transfer(transfer, None, self._hub.main_ports)
        if not ports:
            self._send(Kind.POST, channel, [message], frame_id)
            return
        raw, body = self._granted(peer, "listen", channel), self._encode([message])
        self._check_room()

        def make(table: bytes) -> bytes | Iterator[Packet]:
            return packets.message(Kind.POST, MAIN, 0, table + body, frame=frame_id, channel=raw, value=len(ports))

        ends = self._hub.main_ports.send_away(release(ports))
        peer.route.put(peer.port_owner.carrying(ends, make, raw), HEADER_SIZE + len(body))

    def invoke_frame(self, frame_id: int, channel: str, args: Sequence[object], timeout: float | None) -> Reply:
        """Invoke the handler of a frame. As `invoke`."""
        peer = self._check_frame(frame_id)
        raw, body = self._request(peer, channel, args, timeout)
        limit = peer.limits.pending
        if len(peer.calls) >= limit:
            raise TooManyRequests(limit)
        reply = peer.calls.open(channel, peer.calls.next_request(), peer.route, timeout)
        self._put_request(Kind.INVOKE, raw, body, frame_id, reply)
        return reply

    def stream_frame(self, frame_id: int, channel: str, args: Sequence[object], timeout: float | None) -> Stream:
        """Ask the handler of a frame for a stream. As `stream`."""
        peer = self._check_frame(frame_id)
        raw, body = self._request(peer, channel, args, timeout)
        limit = self._hub.config.limits.streams
        if peer.calls.streams >= limit:
            raise TooManyRequests(limit, "The number of open streams")
        reply = peer.calls.open_stream(channel, peer.calls.next_request(), peer.route, timeout, peer.demand)
        self._put_request(Kind.STREAM, raw, body, frame_id, reply)
        return Stream(reply)

    # For the broker

    def open_frame(self, frame_id: int, name: str, parent_id: int) -> None:
        """Note that the renderer has opened a frame in another one. As `Frames.open`."""
        self._own_frames().open(frame_id, name, parent_id, self._hub.config.limits.frames)

    def close_frame(self, frame_id: int) -> None:
        """Note that the renderer has closed a frame."""
        self._own_frames().close(frame_id)

    def has_used(self, frame_id: int) -> bool:
        """Whether an id cannot be that of a new frame."""
        return self._own_frames().was_used(frame_id)

    def frame(self, frame_id: int) -> WebFrameMain:
        """Return the frame that has sent a message; a detached one if the renderer has no frame with that id."""
        frames = self._frames or self._own_frames()
        frame = frames.get(frame_id) if frame_id else frames.main
        if frame is None:
            frame = WebFrameMain(self, frame_id)
            frame.detach()
        if not frame_id and self._messages is None and not self.registries(frame):
            self._plain_frame = frame
        return frame

    def dispatched(self) -> None:
        """Note that the renderer dispatches."""
        ready, self._ready = self._ready, True
        if isinstance(ready, asyncio.Future) and not ready.done():
            ready.set_result(None)

    def destroyed(self) -> None:
        """Note that the renderer is gone."""
        self._destroyed = True
        if isinstance(self._ready, asyncio.Future) and not self._ready.done():
            self._ready.set_exception(ObjectDestroyedError())
            # Whoever waits has it; with nobody waiting there is nothing to log.
            self._ready.exception()
        self._peer.outbox.wake()
        if self._emitter is not None:
            self._emitter.emit("destroyed")

    def may_hear(self, channel: bytes) -> bool:
        """Whether its role lets it listen on a channel."""
        policy = self._peer.policy
        return policy is None or policy.allows("listen", channel)

    def send_encoded(self, channel: bytes, body: Body, packet: bytes | None) -> None:
        """Send a message that was encoded for several renderers; `packet` if it fits into one."""
        route = self._peer.route
        self._peer.shared += len(body)
        if packet is not None:
            route.put(packet, len(packet))
        else:
            route.put(packets.message(Kind.SEND, MAIN, 0, body, channel=channel), HEADER_SIZE + len(body))

    @property
    def queued(self) -> int:
        """Bytes that wait for this renderer."""
        return self._peer.queued

    def own_registries(self) -> Iterator[tuple[int | None, IpcMain]]:
        """Yield the scoped registries that exist: the renderer's with None, then those of frames with their ids."""
        if self._ipc is not None:
            yield None, self._ipc
        for frame in self._frames.all() if self._frames is not None else ():
            if (ipc := frame.own_ipc) is not None:
                yield frame.frame_id, ipc

    def new_ipc(self) -> IpcMain:
        """Return a registry of this renderer's; it belongs to the thread of the broker's loop."""
        self._plain_frame = None
        return IpcMain().belong_to(self._hub.owner)

    def registries(self, frame: WebFrameMain) -> Sequence[IpcMain]:
        """Return the scoped registries that exist for a frame, the narrowest first."""
        own = frame.own_ipc
        if own is None and self._ipc is None:
            return ()
        return tuple(ipc for ipc in (own, self._ipc) if ipc is not None)

    def levels(self, event: str, frame: WebFrameMain, channel: str, args: Sequence[object]) -> tuple[Level, ...]:
        """Return who is to be asked for listeners of a message before everybody's; nobody, for most renderers."""
        scoped = self.registries(frame)
        if self._messages is None:
            return tuple((ipc, channel, args) for ipc in scoped) if scoped else ()
        return (self._messages, event, (channel, *args)), *((ipc, channel, args) for ipc in scoped)

    # Private

    def _registry(self, event: str) -> Emitter | IpcMain:
        if event in MESSAGES:
            if self._messages is None:
                self._messages = self.new_ipc()
            return self._messages
        if self._emitter is None:
            self._emitter = Emitter(EVENTS)
        return self._emitter

    def _own_frames(self) -> Frames:
        if self._frames is None:
            self._frames = Frames(self)
        return self._frames

    def _check_frame(self, frame_id: int) -> Peer:
        if self._own_frames().get(frame_id) is None:
            raise ObjectDestroyedError
        return self._alive()

    def _alive(self) -> Peer:
        if self._destroyed:
            raise ObjectDestroyedError
        self._hub.owner.check()
        return self._peer

    def _request(self, peer: Peer, channel: str, args: Sequence[object], timeout: float | None) -> tuple[bytes, Body]:
        """Return channel and body of a request that may be made."""
        raw = self._granted(peer, "handle", channel)
        check_timeout(timeout)
        body = self._encode(list(args))
        self._check_room()
        return raw, body

    @staticmethod
    def _put_request(kind: Kind, raw: bytes, body: Body, frame_id: int, reply: Reply) -> None:
        request, value = reply.request, milliseconds(reply.timeout)
        packet = packets.message(kind, MAIN, request, body, frame=frame_id, value=value, channel=raw)
        reply.route.put(packet, HEADER_SIZE + len(body), request, is_free=kind == Kind.STREAM)

    def _granted(self, peer: Peer, verb: str, channel: str) -> bytes:
        """Return a channel's UTF-8 if the renderer may get something there."""
        raw = check_channel(channel)
        if peer.policy is not None:
            self._hub.gate.check(peer, verb, raw)
        return raw

    def _encode(self, args: list[object]) -> Body:
        limits = self._hub.config.limits
        body = clone.encode_body(args, max_depth=limits.depth)
        if len(body) > limits.message:
            raise MessageTooLarge(len(body), limits.message)
        self._hub.holdings.added(len(body))
        return body

    def _check_room(self) -> None:
        hard = self._hub.config.limits.hard
        if self.queued >= hard:
            self._hub.counters["queue_full"] += 1
            raise SendQueueFull(hard, self.name or self.id)

    def _send(self, kind: Kind, channel: str, args: list[object], frame: int = 0) -> None:
        peer = self._alive()
        raw = self._granted(peer, "listen", channel)
        body = self._encode(args)
        self._check_room()
        peer.route.put(packets.message(kind, MAIN, 0, body, frame=frame, channel=raw), HEADER_SIZE + len(body))
