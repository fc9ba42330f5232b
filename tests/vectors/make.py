"""Write the golden vectors beside this file, only when the protocol changes: `python -m tests.vectors.make`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from mainbus.errors import BadMessage, NoSuchRenderer
from mainbus.remote import describe
from mainbus.wire import clone, pooled, port_table
from mainbus.wire.messages import DIRECT, FEATURES, Hello, LaneHello, LaneWelcome, Welcome, pack
from mainbus.wire.packets import HEADER_SIZE, MAX_FRAGMENT, Flag, Kind, build, fragments

HERE = Path(__file__).parent

DOC = {"path": "docs/report.txt", "n": 42, "tags": ["a", "b"]}


def packet(label: str, kind: Kind, flags: int = 0, body: bytes = b"", **fields: Any) -> dict[str, Any]:
    """Return one packet by its fields and as bytes."""
    texts = {key: fields.pop(key, "") for key in ("name", "channel")}
    numbers = {key: fields.pop(key, 0) for key in ("peer", "request", "frame", "value")}
    assert not fields
    encoded = {key: text.encode() for key, text in texts.items()}
    return {
        "name": label,
        "packet": {"kind": kind.name, "flags": int(flags), **numbers, **texts, "body": body.hex()},
        "hex": build(kind, body=body, flags=int(flags), **numbers, **encoded).hex(),
    }


def packets() -> list[dict[str, Any]]:
    """Return one packet of each kind, as one end would write it to the other."""
    args = clone.encode([DOC])
    # Both ends of a new channel leave together, a moment before each gets a number of the receiver's.
    both, arrived = port_table.pack([(5, 7), (7, 0)]), port_table.pack([(2, 0), (4, 0)])
    one = port_table.pack([(9, 11)])
    text = clone.encode("No renderer is named 'nobody'")
    secret = bytes(range(16))
    return [
        packet("a broker that refuses", Kind.REFUSED, value=22, body=clone.encode("packet of 0 bytes")),
        packet("a renderer that leaves", Kind.GOODBYE, value=17),
        packet("a broker that stops", Kind.GOODBYE, value=3, body=b"the broker stops"),
        packet("ready", Kind.READY),
        packet("repeat", Kind.REPEAT, request=2, value=41),
        packet("once", Kind.ONCE, value=3),
        packet("send to main", Kind.SEND, channel="set-title", body=clone.encode(["Hello"])),
        packet("send to an id", Kind.SEND, peer=7, channel="open", body=args),
        packet("send to a name", Kind.SEND, Flag.BY_NAME, name="editor", channel="open", body=args),
        packet("the same, as it arrives", Kind.SEND, Flag.BY_NAME, peer=3, name="größe", channel="open", body=args),
        packet("post", Kind.POST, channel="größer 😀", body=clone.encode([None])),
        packet("sync", Kind.SYNC, request=1, value=30_000, channel="ask", body=clone.encode([])),
        packet("invoke", Kind.INVOKE, request=0xFFFF_FFFF, value=1500, frame=2, channel="c" * 255, body=args),
        packet("broadcast", Kind.BROADCAST, channel="news", body=clone.encode([1, 2.5, b"\x00\xff"])),
        packet("query", Kind.QUERY, request=5, channel="peers"),
        packet("stream", Kind.STREAM, Flag.BY_NAME, request=6, value=60_000, name="editor", channel="lines", body=args),
        packet("result", Kind.RESULT, peer=3, request=9, body=clone.encode({"ok": True})),
        packet("error", Kind.ERROR, request=9, value=NoSuchRenderer.wire_code, body=text),
        packet("error without a text", Kind.ERROR, request=9, value=4),
        packet("cancel", Kind.CANCEL, request=9),
        packet("cancel, as it arrives", Kind.CANCEL, peer=3, request=9),
        packet("item", Kind.ITEM, peer=3, request=9, body=clone.encode(["a line", 1])),
        packet("demand", Kind.DEMAND, request=9, value=131_072),
        packet("demand, as it arrives", Kind.DEMAND, peer=3, request=9, value=131_072),
        packet("pause", Kind.PAUSE, peer=7, request=12, value=1, name="editor"),
        packet("paused", Kind.PAUSED, peer=7, request=12),
        packet("resume", Kind.RESUME, peer=7, name="editor"),
        packet("credit", Kind.CREDIT, value=256),
        packet("who", Kind.WHO, peer=7),
        packet("who, as it is answered", Kind.WHO, peer=7, value=1, name="editor"),
        packet("post, with two ports", Kind.POST, value=2, channel="ports", body=both + clone.encode([None])),
        packet("the same, as it arrives", Kind.POST, value=2, channel="ports", body=arrived + clone.encode([None])),
        packet("port message", Kind.PORT_MESSAGE, peer=3, body=clone.encode(DOC)),
        packet("port message, with one end", Kind.PORT_MESSAGE, peer=3, value=1, body=one + clone.encode(None)),
        packet("port message, the first half", Kind.PORT_MESSAGE, Flag.MORE, peer=2, value=1, body=one),
        packet("port message, the second half", Kind.PORT_MESSAGE, Flag.CONTINUES, peer=2, body=clone.encode("end")),
        packet("port credit", Kind.PORT_CREDIT, peer=2, value=131_072),
        packet("port close", Kind.PORT_CLOSE, peer=2),
        packet("port close, for a bad message", Kind.PORT_CLOSE, peer=2, value=BadMessage.wire_code),
        packet("port moved", Kind.PORT_MOVED, peer=5),
        packet("port message, returned", Kind.PORT_MESSAGE, Flag.FREE, peer=2, body=clone.encode("end")),
        packet("may a port be direct", Kind.PORT_DIRECT, peer=3),
        packet("an end of a socket", Kind.PORT_DIRECT, peer=3, request=7),
        packet("an end that cannot be taken", Kind.PORT_DIRECT, peer=3, request=7, value=1),
        packet("port switch", Kind.PORT_SWITCH, peer=3, request=7),
        packet("port switch, of which nothing comes", Kind.PORT_SWITCH, peer=3, request=7, value=1),
        packet("port switch, on the socket", Kind.PORT_SWITCH),
        packet("may there be a pool", Kind.POOL, peer=7),
        packet("may there be a pool, by name", Kind.POOL, Flag.BY_NAME, name="editor"),
        packet("a descriptor can come", Kind.POOL, peer=3, value=1),
        packet("a pool to write, with its descriptor", Kind.POOL, peer=7, request=4, value=33_554_432),
        packet("a pool to read, with its descriptor", Kind.POOL_READY, peer=3, request=4, value=33_554_432),
        packet("a pool is sealed", Kind.POOL_READY, peer=7, request=4, value=1),
        packet("a pool can be read", Kind.POOL_READY, peer=3, request=4, value=1),
        packet("the same, as it arrives", Kind.POOL_READY, peer=7, request=4, name="editor"),
        packet("in a pool", Kind.SEND, Flag.POOLED, peer=7, frame=9, channel="open", body=pooled.pack((4096, 9, 6, 3))),
        packet("free again", Kind.POOL_FREE, peer=3, frame=9),
        packet("no use for a pool", Kind.POOL, peer=7, request=4, value=pooled.GIVEN_BACK),
        packet("no pool to a renderer", Kind.POOL_CLOSED, peer=7, request=4, value=pooled.NOT_TO),
        packet("no pool from a renderer", Kind.POOL_CLOSED, peer=3, request=4, value=pooled.NOT_FROM),
        packet("undeliverable", Kind.UNDELIVERABLE, Flag.BY_NAME, name="nobody", channel="c", body=b"no such renderer"),
        packet("gap", Kind.GAP, peer=7),
        packet("abort", Kind.ABORT, peer=7),
        packet("bad message", Kind.BAD_MESSAGE, peer=7, channel="c"),
        packet("watch", Kind.WATCH),
        packet("joined", Kind.JOINED, peer=8, name="viewer"),
        packet("left", Kind.LEFT, peer=8, name="viewer"),
        packet("a frame", Kind.FRAME, request=6, frame=2, value=1, name="toolbar"),
        packet("a frame after a reconnect", Kind.FRAME, frame=2, value=1, name="toolbar"),
        packet("a frame that is closed", Kind.FRAME_CLOSED, frame=2),
        packet("a message of a frame", Kind.SEND, frame=2, channel="set-title", body=clone.encode(["Hello"])),
        packet("a new guest", Kind.GUEST, request=7, value=1, name="viewer"),
        packet("a guest after a reconnect", Kind.GUEST, value=1, name="viewer", body=clone.encode({"link": secret})),
        packet("a guest that has come", Kind.GUEST, peer=8, value=1, name="viewer", body=clone.encode(secret)),
        packet("a guest that is let go", Kind.GUEST_CLOSED, value=1),
        packet("a guest that has left", Kind.GUEST_CLOSED, peer=8, request=1, value=1, name="viewer"),
        packet("a host that is back", Kind.HOST, peer=9, name="editor"),
        packet("send to a host or guest", Kind.SEND, Flag.HOST, peer=8, channel="open", body=args),
    ]


def handshakes() -> list[dict[str, Any]]:
    """Return the packets of handshakes by what their bodies say."""
    secret, instance, nonce = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))
    said: dict[str, Hello | Welcome | LaneHello | LaneWelcome] = {
        "a first hello": Hello(name="editor", token="one-time"),
        "a hello without a name": Hello(),
        "a reconnect": Hello(name="editor", session=secret, instance=instance, watch=True),
        "a guest's reconnect": Hello(session=secret, instance=instance, guest=nonce),
        "a welcome": Welcome(id=3, session=secret, instance=instance, lane=nonce, name="editor"),
        "a guest's welcome": Welcome(id=4, session=secret, instance=instance, lane=nonce, host=3, guest=instance),
        "a lane": LaneHello(id=3, nonce=nonce),
        "a lane's welcome": LaneWelcome(nonce=secret),
        "a hello of who can be direct": Hello(name="editor", features=(*FEATURES, DIRECT)),
        "a welcome to who can be direct": Welcome(
            id=3, session=secret, instance=instance, lane=nonce, name="editor", descriptors=secret
        ),
        "a connection for descriptors": LaneHello(id=3, nonce=secret, descriptors=True),
    }
    return [
        {"name": name, "type": type(message).__name__, "body": _plain(message), "hex": pack(message).hex()}
        for name, message in said.items()
    ]


def large() -> list[dict[str, Any]]:
    """Return messages in fragments; a body is the bytes 0 to 255 over and over, and is given by its length."""
    vectors = []
    for name, length in {"two and a rest": 2 * MAX_FRAGMENT + 1, "two exactly": 2 * MAX_FRAGMENT}.items():
        body = bytes(range(256)) * (length // 256 + 1)
        parts = [
            {"head": part[: len(part) - size].hex(), "length": size}
            for packet in fragments(
                Kind.INVOKE, 0, 5, body[:length], flags=Flag.BY_NAME, value=1500, name=b"editor", channel=b"open"
            )
            for part in [bytes(packet)]
            for size in [len(part) - HEADER_SIZE - part[6] - part[7]]
        ]
        vectors.append({"name": name, "length": length, "fragments": parts})
    return vectors


def errors() -> list[dict[str, Any]]:
    """Return the bodies of errors that handlers raised."""
    cause = KeyError("k")
    wrapped = ValueError("some error")
    wrapped.__cause__ = cause
    wrapped.add_note("while saving")
    coded = RuntimeError("busy")
    coded.__dict__.update(code="EBUSY", data={"retry": True})
    raised = {
        "a message": ValueError("some error"),
        "a cause and a note": wrapped,
        "an error of the system": FileNotFoundError(2, "No such file or directory", "/missing"),
        "a code and data": coded,
    }
    return [
        {"name": name, "description": _plain(description), "hex": clone.encode(description).hex()}
        for name, error in raised.items()
        for description in [describe(error)]
    ]


def _plain(value: Any) -> Any:
    """Return a value as JSON has it; bytes are objects with a `hex`."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def texts() -> dict[str, str]:
    """Return what each file has, by its name."""
    found = {"packets": packets(), "handshakes": handshakes(), "fragments": large(), "errors": errors()}
    return {f"{name}.json": json.dumps(vectors, indent=2, ensure_ascii=False) + "\n" for name, vectors in found.items()}


def main() -> None:
    """Write all of them."""
    for name, text in texts().items():
        (HERE / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
