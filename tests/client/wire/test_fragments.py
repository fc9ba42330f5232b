"""What fragments of one message have in common."""

import pytest
from mainbus.wire.fragments import PORTS, STREAMS, Progress, stream_of
from mainbus.wire.packets import Flag, Kind
from mainbus.wire.states import FRAGMENTED


def test_a_pair_has_four_streams_and_a_port_one() -> None:
    streams = {(kind, name): stream_of(kind, name) for kind in FRAGMENTED for name in (0, Flag.BY_NAME)}
    assert set(streams.values()) == {*range(STREAMS), PORTS}
    assert PORTS not in range(STREAMS)
    assert {kind for (kind, _), stream in streams.items() if stream == PORTS} == {Kind.PORT_MESSAGE}
    messages = {Kind.SEND, Kind.POST, Kind.SYNC, Kind.INVOKE}
    assert len({streams[kind, 0] for kind in messages}) == 1
    assert len({streams[kind, Flag.BY_NAME] for kind in messages}) == 1
    assert len({streams[kind, name] for kind in (Kind.RESULT, Kind.ERROR) for name in (0, Flag.BY_NAME)}) == 1
    assert streams[Kind.BROADCAST, 0] == streams[Kind.BROADCAST, Flag.BY_NAME]


def test_the_flags_of_fragments_change_no_stream() -> None:
    for kind in FRAGMENTED:
        assert {stream_of(kind, flags) for flags in (0, Flag.MORE, Flag.CONTINUES)} == {stream_of(kind, 0)}


def test_fragments_add_up_to_the_limit() -> None:
    progress = Progress(Kind.SEND, 0, 5)
    assert progress.fault(Kind.SEND, 0, 5, limit=10) is None
    assert progress.fault(Kind.SEND, 0, 1, limit=10) == "A message of 11 bytes exceeds the limit of 10"


def test_an_empty_fragment_counts_as_a_byte() -> None:
    progress = Progress(Kind.SEND, 0, 5)
    assert [progress.fault(Kind.SEND, 0, 0, limit=10) is None for _ in range(6)] == [True] * 5 + [False]


@pytest.mark.parametrize(("kind", "request_id"), [(Kind.POST, 7), (Kind.SEND, 8), (99, 7)])
def test_a_fragment_of_something_else_is_a_fault(kind: int, request_id: int) -> None:
    fault = Progress(Kind.SEND, 7, 5).fault(kind, request_id, 1, limit=10)
    assert fault is not None
    assert fault.endswith("without its first")
