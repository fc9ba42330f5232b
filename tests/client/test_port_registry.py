"""The ports of one connection: how ends leave and arrive, and what is said of those that are unknown."""

import gc

import pytest
from mainbus import MessageChannel, PortError
from mainbus.wire import clone
from mainbus.wire.port_table import CLOSED

from tests.support.bus import until
from tests.support.port_records import Records, heard, pair


async def test_both_ends_of_a_channel_get_odd_numbers_when_one_leaves() -> None:
    records = Records()
    channels = [MessageChannel() for _ in range(2)]
    left = [records.depart(each.port2.release()) for each in channels]
    assert [entry for entry, _ in left] == [(1, 3), (5, 7)]
    assert [back.number for _, back in left if back is not None] == [3, 7]
    assert len(records) == 4
    assert records.take() == []


async def test_one_that_has_come_leaves_with_its_number_alone() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    assert records.depart(port.release()) == ((2, 0), None)


async def test_one_that_stayed_behind_leaves_with_its_number_alone() -> None:
    records, port, back = pair()
    assert records.depart(port.release()) == ((back.number, 0), None)


async def test_a_closed_one_leaves_as_nothing() -> None:
    records = Records()
    end = MessageChannel().port1.release()
    end.close()
    assert records.depart(end) == (CLOSED, None)
    assert len(records) == 0


async def test_the_end_of_a_closed_channel_leaves_with_what_it_has() -> None:
    records, channel = Records(), MessageChannel()
    channel.port1.post_message("still to be taken")
    channel.port1.close()
    entry, back = records.depart(channel.port2.release())
    assert entry == (1, 3)
    assert back is not None
    assert records.take() == []
    back.open()
    # Nobody is at the other end, which the broker learns behind what was posted there.
    assert records.take() == [("message", 3, "still to be taken"), ("close", 3, 0)]
    records.send_after(back.registry._remotes[1])
    assert records.take() == []


async def test_two_ends_that_leave_together_keep_what_they_have() -> None:
    records, channel = Records(), MessageChannel()
    channel.port1.post_message("for two")
    channel.port2.post_message("for one")
    ends = [channel.port1.release(), channel.port2.release()]
    assert [records.depart(end)[0] for end in ends] == [(1, 3), (3, 0)]
    for number, text in ((1, "for one"), (3, "for two")):
        records.send_after(records._remotes[number])
        assert records.take() == [("message", number, text)]


async def test_one_of_another_connection_is_closed_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    records, port, _ = pair()
    log = heard(port)
    other = Records()
    assert other.depart(port.release()) == (CLOSED, None)
    assert caplog.messages == ["a port of another connection was closed: it cannot leave over this one"]
    assert records.take() == [("close", 3, 0)]
    assert log == []
    assert (len(other), len(records)) == (0, 1)


async def test_what_has_come_after_an_end_that_left_is_sent_after_it_with_its_ports() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    end = port.end
    assert end is not None
    records.message(2, [], clone.encode("one"))
    records.message(2, [(4, 0), (0, 0)], clone.encode("two"))
    port.release()
    records.message(2, [], clone.encode("three"))
    assert end.remote is not None
    records.send_after(end.remote)
    assert records.take() == [
        ("message", 2, "one"),
        ("message", 2, "two", (4, 0), (1, 3)),
        # That one was closed already.
        ("close", 3, 0),
        ("message", 2, "three"),
    ]


async def test_what_comes_for_a_port_is_taken_there_with_its_ports() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    records.message(2, [(4, 0)], clone.encode("hello"))
    async for event in port:
        assert event.data == "hello"
        (inner,) = event.ports
        break
    records.message(4, [], clone.encode("inside"))
    log = heard(inner)
    await until(lambda: log)
    assert log == ["inside"]
    inner.post_message("answer")
    assert records.take() == [("message", 4, "answer")]
    port.close()


@pytest.mark.contract("7.3")
async def test_what_comes_for_an_unknown_port_is_dropped_and_its_ports_are_closed() -> None:
    records = Records()
    records.message(2, [(4, 0)], clone.encode("nobody is there"))
    gc.collect()
    await until(lambda: not len(records))
    assert records.take() == [("close", 4, 0)]
    records.credit(2, 100)
    records.closed(2)
    assert records.take() == []


async def test_a_port_without_a_number_is_closed_already() -> None:
    records = Records()
    (port,) = records.arrive([(0, 0)])
    assert [event async for event in port] == []
    assert (len(records), records.take()) == (0, [])


async def test_a_close_is_confirmed_when_the_owner_was_told() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    records.message(2, [], clone.encode("last"))
    records.closed(2)
    assert (len(records), records.take()) == (1, [])
    log = heard(port)
    await until(lambda: len(log) == 2)
    assert log == ["last", "closed"]
    assert (len(records), records.take()) == (0, [("close", 2, 0)])
    with pytest.raises(PortError):
        MessageChannel().port1.post_message(None, [port])


@pytest.mark.contract("7.3")
async def test_when_the_connection_is_gone_all_ports_are_closed_and_nothing_is_said() -> None:
    records, port, _ = pair()
    (arrived,) = records.arrive([(2, 0)])
    records.message(2, [], clone.encode("last"))
    records.sent.clear()
    logs = [heard(port), heard(arrived)]
    records.close_all()
    assert len(records) == 0
    arrived.post_message("to nobody")
    port.close()
    await until(lambda: logs == [["closed"], ["last", "closed"]])
    assert records.take() == []


@pytest.mark.contract("7.3")
async def test_a_port_of_a_connection_that_is_gone_leaves_by_the_next_with_what_it_has() -> None:
    records = Records()
    (port,) = records.arrive([(2, 0)])
    records.message(2, [], clone.encode("last"))
    records.close_all()
    entry, back = records.depart(port.release())
    assert entry == (1, 3)
    assert back is not None
    back.open()
    assert records.take() == [("message", 3, "last"), ("close", 3, 0)]


async def test_in_a_hurry_all_that_is_held_leaves() -> None:
    records, port, _ = pair()
    for number in range(100):
        port.post_message(number)
    assert len(records.take()) == 64
    records.hurry()
    assert [each[2] for each in records.take()] == list(range(64, 100))
    port.close()
