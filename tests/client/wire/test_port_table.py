"""The table of ports in front of a body: what is packed comes out again, and no bytes are more than refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.wire.packets import CONTINUES, HEADER, HEADER_SIZE, MAX_U32, MORE, Kind, build
from mainbus.wire.port_table import CLOSED, ENTRY_SIZE, MAX_PORTS, is_fair, pack, unpack, without_ports

NUMBERS = st.integers(0, MAX_U32)
ENTRIES = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=20)


def test_an_entry_is_two_big_endian_numbers_of_four_bytes() -> None:
    assert pack([(1, 0x01020304), (MAX_U32, 0)]) == bytes.fromhex("00000001 01020304 ffffffff 00000000")
    assert pack([CLOSED]) == bytes(8)
    assert pack([]) == b""
    assert ENTRY_SIZE == 8


@given(entries=ENTRIES, body=st.binary())
def test_what_is_packed_comes_out_again(entries: list[tuple[int, int]], body: bytes) -> None:
    assert unpack(pack(entries) + body, len(entries)) == (entries, body)


@given(data=st.binary(max_size=200), count=st.integers(0, 30) | NUMBERS)
def test_any_bytes_are_a_table_or_refused(data: bytes, count: int) -> None:
    found = unpack(data, count)
    if found is None:
        assert len(data) < 8 * count
        return
    entries, body = found
    assert len(entries) == count
    assert all(0 <= number <= MAX_U32 for entry in entries for number in entry)
    # Nothing is read but what the count says, and nothing is lost.
    assert pack(entries) + body == data


def test_a_table_has_an_end() -> None:
    whole = bytes(8 * (MAX_PORTS + 1))
    found = unpack(whole, MAX_PORTS)
    assert found is not None
    assert (len(found[0]), len(found[1])) == (MAX_PORTS, 8)
    assert unpack(whole, MAX_PORTS + 1) is None
    assert unpack(whole, MAX_U32) is None
    assert unpack(bytes(15), 2) is None
    assert unpack(b"", 0) == ([], b"")


@pytest.mark.parametrize("entry", [(1, 3), (3, 1), (MAX_U32, 1), (1, 0), (2, 0), CLOSED])
def test_a_renderer_may_name_any_port_and_give_odd_numbers(entry: tuple[int, int]) -> None:
    assert is_fair(entry)


@pytest.mark.parametrize("entry", [(1, 1), (2, 4), (1, 2), (2, 1), (0, 1), (MAX_U32, MAX_U32 - 1)])
def test_a_renderer_may_not_give_even_numbers_nor_one_twice(entry: tuple[int, int]) -> None:
    assert not is_fair(entry)


@given(number=NUMBERS, partner=st.integers(1, MAX_U32))
def test_the_numbers_of_a_new_channel_are_two_odd_ones(number: int, partner: int) -> None:
    assert is_fair((number, 0))
    assert is_fair((number, partner)) == (number % 2 == 1 and partner % 2 == 1 and number != partner)


@given(entries=ENTRIES, body=st.binary(max_size=50), name=st.binary(max_size=5), channel=st.binary(max_size=20))
def test_a_packet_loses_its_ports_and_nothing_else(
    entries: list[tuple[int, int]], body: bytes, name: bytes, channel: bytes
) -> None:
    def packet(table: bytes) -> bytes:
        body_with = table + body
        return build(Kind.POST, 7, 8, body_with, frame=9, value=len(entries), name=name, channel=channel)

    assert without_ports(packet(pack(entries))) == packet(pack([CLOSED] * len(entries)))


@pytest.mark.parametrize("flags", [MORE, CONTINUES, MORE | CONTINUES])
def test_a_part_of_a_message_is_left_alone(flags: int) -> None:
    # What has left in part does not leave again, and the value of a later part is no number of ports.
    packet = build(Kind.POST, 0, 0, pack([(1, 3)]) + b"body", flags=flags, value=1, channel=b"c")
    assert without_ports(packet) is packet


def test_a_packet_without_ports_is_left_alone() -> None:
    packet = build(Kind.POST, 0, 0, b"body of a message", channel=b"c")
    assert without_ports(packet) is packet
    assert HEADER.unpack_from(packet)[0] == HEADER_SIZE + 1 + len(b"body of a message")
