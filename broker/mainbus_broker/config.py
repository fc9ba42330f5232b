"""What can be set, with its defaults: frozen, validated once."""

from __future__ import annotations

from dataclasses import dataclass, field

from mainbus.wire.messages import MAX_MESSAGE

KIB = 1024
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one renderer may make the broker do or remember. Sizes in bytes, times in seconds."""

    message: int = MAX_MESSAGE
    """The body of one message, all its fragments together: 64 MiB of payload, and what CBOR puts around it."""
    depth: int = 512
    """Containers inside containers in one message."""
    pending: int = 4096
    """Invokes of one renderer that have no answer yet, to all targets together."""
    running: int = 256
    """Handlers that one renderer may have running at one target; announced to it as its credit."""
    high: int = 1 * MIB
    """Bytes waiting for one renderer above which those who add to them are asked to pause."""
    low: int = 256 * KIB
    """Bytes below which they are asked to go on."""
    hard: int = 64 * MIB
    """Bytes waiting for one renderer above which the main process gets SendQueueFull."""
    overrun: int = 8 * MIB
    """Bytes that may still arrive from a renderer after it was asked to pause."""
    stall_timeout: float = 30.0
    """Seconds in which a renderer with more than `low` waiting must have read something."""
    handshake_timeout: float = 10.0
    """Seconds from a connection to its hello."""
    max_bad_messages: int = 1
    """Bodies that did not decode after which their sender is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a broker can be told."""

    limits: Limits = field(default_factory=Limits)
    sync_reply_timeout: float = 30.0
    """Seconds after which a send_sync that nobody answered is answered with ReplyNeverSent."""
    cancel_grace: float = 5.0
    """Seconds after which a cancelled handler that still runs is logged."""
    tracebacks: bool = False
    """Whether the traceback of a handler's exception may cross to the caller."""
