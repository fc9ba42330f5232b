"""What the packets of a handshake say: their bodies, as frozen dataclasses, to and from CBOR."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Final, TypeAlias, TypeVar

import msgspec

from mainbus.errors import BadMessage, LimitExceeded, RemoteProtocolError
from mainbus.wire import clone
from mainbus.wire.packets import MAX_U32, Kind, build
from mainbus.wire.pieces import Body as Bytes

VERSION: Final = 1
"""The protocol's version. An end that reads another one refuses the connection."""

MAX_MESSAGE: Final = 64 * 1024 * 1024 + 64 * 1024
"""Bytes of one body: 64 MiB of payload, and what CBOR puts around it."""

FEATURES: Final[tuple[str, ...]] = ("fragments", "lane")

DIRECT: Final = "direct"
"""The feature of a renderer whose ports may become direct, and of a broker that lets them."""

POOLS: Final = "pools"
"""The feature of a renderer that takes large messages in shared memory, and of a broker that makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The renderer's first packet: who it is."""

    version: int = VERSION
    name: str | None = None
    token: str | None = None
    session: bytes | None = None
    """The secret of the session that this connection continues; None for a first connection."""
    instance: bytes | None = None
    """The broker that gave the secret; another one may forget the name's former holder."""
    watch: bool = False
    """Whether to be told who joins and leaves, as by WATCH, from the welcome on."""
    guest: bytes | None = None
    """What an earlier welcome gave to this guest, by which it is its host's again; None for all others."""
    features: tuple[str, ...] = FEATURES


# What any broker can be configured to: a renderer counts and reserves by these numbers, whoever has said them.
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_U32)]
_Depth: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=512)]
_Size: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=1024 * 1024 * 1024)]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """What the broker accepts, so that a client can refuse earlier and by name. Sizes in bytes."""

    message: _Size = MAX_MESSAGE
    depth: _Depth = 512
    pending: _Count = 4096
    """Unanswered invokes of one renderer, to all targets together."""
    ports: _Count = 4096
    """Ends of message channels that one renderer may have."""
    direct: _Count = 256
    """Those of them that may be direct at a time."""
    direct_after: _Size = 256 * 1024
    """What the messages on a port must have cost before it asks to become direct."""
    pool: _Size = 32 * 1024 * 1024
    """Bytes of one pool of shared memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """The broker's answer: who the renderer is from now on."""

    id: _Count
    session: bytes
    instance: bytes
    lane: bytes
    """One-time nonce with which a lane can be opened."""
    version: int = VERSION
    name: str | None = None
    host: _Count | None = None
    """The renderer that this one is a guest of."""
    guest: bytes | None = None
    """A secret that the guest shares with its host; None for renderers that are no guests."""
    descriptors: bytes | None = None
    """What opens a connection for descriptors; None where no port becomes direct."""
    credit: _Count = 256
    """Unanswered invokes that one target takes from this renderer."""
    limits: WireLimits = field(default_factory=WireLimits)
    features: tuple[str, ...] = FEATURES


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneHello:
    """The first packet of a lane."""

    id: int
    nonce: bytes
    descriptors: bool = False
    """Whether it is for descriptors, which the broker sends, and for nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneWelcome:
    """The broker's answer to it, with the nonce for the next lane."""

    nonce: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestClaim:
    """What a host that has reconnected says of a guest that it had before; nothing asks for a new one."""

    token: bytes | None = None
    """SHA-256 of a token that was not used yet."""
    link: bytes | None = None
    """The secret that it shares with a guest that has been there."""


Body = TypeVar("Body", Hello, Welcome, LaneHello, LaneWelcome, GuestClaim)

_KINDS: Final = {Hello: Kind.HELLO, Welcome: Kind.WELCOME, LaneHello: Kind.LANE, LaneWelcome: Kind.LANE}


def pack(message: Hello | Welcome | LaneHello | LaneWelcome) -> bytes:
    """Return the packet that carries `message`."""
    return build(_KINDS[type(message)], body=clone.encode(msgspec.to_builtins(message, builtin_types=(bytes,))))


def unpack(kind: type[Body], body: Bytes) -> Body:
    """Read the body of a handshake packet; keys that this version does not know are ignored.

    Raises:
        RemoteProtocolError: The body is not what the protocol says, or speaks another version.
    """
    try:
        value = clone.decode(body, max_depth=8)
        # First, since another version may mean anything by the rest.
        version = value.get("version", VERSION) if isinstance(value, dict) else VERSION
        if type(version) is int and version != VERSION:
            raise RemoteProtocolError(f"protocol version {version} where {VERSION} is spoken")
        return msgspec.convert(value, kind)
    except (BadMessage, LimitExceeded, msgspec.ValidationError) as error:
        raise RemoteProtocolError(f"{kind.__name__} does not decode: {error}") from error
