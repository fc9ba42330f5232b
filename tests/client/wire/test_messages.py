"""What handshakes say: the golden vectors, both ways, and whatever is not as it should be ends in one named error."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.errors import RemoteProtocolError
from mainbus.wire import clone
from mainbus.wire.messages import VERSION, Hello, LaneHello, LaneWelcome, Welcome, WireLimits, pack, unpack
from mainbus.wire.packets import HEADER_SIZE, KIND_AT, Kind

from tests.support.clones import TREES, graphs

VECTORS = Path(__file__).parents[2] / "vectors"
TYPES: dict[str, Any] = {cls.__name__: cls for cls in (Hello, Welcome, LaneHello, LaneWelcome)}
KINDS = {Hello: Kind.HELLO, Welcome: Kind.WELCOME, LaneHello: Kind.LANE, LaneWelcome: Kind.LANE}
"""Every body, and the packet that it travels in."""

ENOUGH = {"id": 1, "session": b"s", "instance": b"i", "lane": b"l", "nonce": b"n"}
"""What the bodies cannot do without."""


def revived(value: Any) -> Any:
    """What a vector says, as structured clone gives it."""
    if isinstance(value, dict):
        return bytes.fromhex(value["hex"]) if set(value) == {"hex"} else {k: revived(item) for k, item in value.items()}
    return [revived(item) for item in value] if isinstance(value, list) else value


def golden() -> list[Any]:
    found = json.loads((VECTORS / "handshakes.json").read_text(encoding="utf-8"))
    return [pytest.param(vector, id=vector["name"]) for vector in found]


@pytest.mark.parametrize("vector", golden())
def test_handshakes_are_the_golden_ones(vector: dict[str, Any]) -> None:
    packet, cls = bytes.fromhex(vector["hex"]), TYPES[vector["type"]]
    assert packet[KIND_AT] == KINDS[cls]
    assert clone.decode(packet[HEADER_SIZE:]) == revived(vector["body"])
    assert pack(unpack(cls, packet[HEADER_SIZE:])) == packet


def test_what_is_left_out_has_its_default() -> None:
    assert unpack(Hello, clone.encode({})) == Hello()
    welcome = unpack(Welcome, clone.encode(ENOUGH))
    assert (welcome.name, welcome.limits, welcome.version) == (None, WireLimits(), VERSION)


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("name", ["limits.message", "limits.depth", "limits.pending", "limits.ports", "limits.direct"])
@pytest.mark.parametrize("value", [0, -1, 2**32, 2**64, 2**70, "many", True])
def test_a_limit_that_no_broker_can_have_is_a_fault(name: str, value: object) -> None:
    key = name.partition(".")[2]
    with pytest.raises(RemoteProtocolError, match=rf"Welcome does not decode: .*`\$\.{name}`"):
        unpack(Welcome, clone.encode({**ENOUGH, "limits": {key: value}}))


@pytest.mark.contract("8.6")
@pytest.mark.parametrize("key", ["id", "host", "credit"])
@pytest.mark.parametrize("value", [0, -1, 2**32, 2**70])
def test_a_number_that_no_broker_can_say_is_a_fault(key: str, value: int) -> None:
    with pytest.raises(RemoteProtocolError, match=rf"Welcome does not decode: .*`\$\.{key}`"):
        unpack(Welcome, clone.encode({**ENOUGH, key: value}))


def test_unknown_keys_are_ignored() -> None:
    assert unpack(Hello, clone.encode({"name": "a", "colour": ["blue"]})) == Hello(name="a")


@pytest.mark.parametrize("cls", [Hello, Welcome])
@pytest.mark.parametrize("version", [0, 2, -1, 2**70])
def test_another_version_is_named(cls: Any, version: int) -> None:
    # Whatever else it may say by then.
    with pytest.raises(RemoteProtocolError, match=f"protocol version {version} where 1 is spoken"):
        unpack(cls, clone.encode({"version": version, "name": 5}))


@pytest.mark.parametrize("version", ["1", None, [1], 1.5, True])
def test_a_version_that_is_no_number_is_a_fault(version: object) -> None:
    with pytest.raises(RemoteProtocolError, match="Hello does not decode"):
        unpack(Hello, clone.encode({"version": version}))


@pytest.mark.parametrize("cls", TYPES.values())
@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"\xa0\x00", clone.encode(None), clone.encode([]), b"\x81" * 9 + b"\x00"]
)
def test_a_body_that_is_none_is_a_fault(cls: Any, body: bytes) -> None:
    with pytest.raises(RemoteProtocolError, match=f"{cls.__name__} does not decode"):
        unpack(cls, body)


@given(cls=st.sampled_from([*TYPES.values()]), data=st.data())
def test_any_value_in_any_place_is_taken_or_named(cls: Any, data: st.DataObject) -> None:
    key = data.draw(st.sampled_from([field.name for field in fields(cls)]))
    value = data.draw(st.one_of(TREES, graphs()))
    try:
        unpack(cls, clone.encode({**ENOUGH, key: value}))
    except RemoteProtocolError:
        pass


@given(cls=st.sampled_from([*TYPES.values()]), body=st.binary(max_size=200))
def test_any_bytes_are_taken_or_named(cls: Any, body: bytes) -> None:
    try:
        unpack(cls, body)
    except RemoteProtocolError:
        pass
