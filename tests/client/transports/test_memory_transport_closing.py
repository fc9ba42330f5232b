"""How a memory connection ends: by a close, an abort, an end of file or a protocol that raises."""

import asyncio

import pytest
from mainbus.transports.memory_link import CHUNK

from tests.support.memory_ends import Recorder, finish, make_ends, make_pair, turns


@pytest.mark.contract("3.15")
async def test_close_delivers_what_was_written_before_both_ends_are_lost() -> None:
    a, one, b, other = make_ends()
    b.pause_reading()
    a.write(bytes(3 * CHUNK))
    a.close()
    a.close()
    a.write(b"too late")
    assert a.is_closing()
    await turns()
    assert "lost" not in one.events + other.events
    b.resume_reading()
    await one.until_lost()
    await other.until_lost()
    assert len(other.received) == 3 * CHUNK
    assert other.events == ["made", "data", "data", "data", "eof", "lost"]
    assert one.events == ["made", "pause", "resume", "lost"]
    assert one.errors == other.errors == [None]
    await finish((a, one, b, other))


async def test_an_end_that_is_closed_reads_no_more() -> None:
    ends = a, one, b, _ = make_ends()
    b.write(b"abc")
    a.close()
    await one.until_lost()
    assert one.received == b""
    assert not a.is_reading()
    a.resume_reading()
    await finish(ends)


async def test_an_end_answers_the_end_of_file_before_it_closes() -> None:
    a, b = make_pair()

    class Answering(Recorder):
        def eof_received(self) -> bool:
            b.write(b"answer")
            return super().eof_received()

    ends = a, one, b, other = a, Recorder(), b, Answering()
    a.start(one)
    b.start(other)
    a.write(b"question")
    assert a.can_write_eof()
    a.write_eof()
    a.write_eof()
    with pytest.raises(RuntimeError, match="after write_eof"):
        a.write(b"more")
    await one.until_lost()
    assert (one.received, other.received) == (b"answer", b"question")
    assert one.events == ["made", "data", "eof", "lost"]
    assert one.errors == other.errors == [None]
    await finish(ends)


async def test_a_half_open_end_goes_on_writing() -> None:
    ends = a, one, b, other = make_ends()
    other.half_open = True
    a.write_eof()
    await other.until(lambda: "eof" in other.events)
    b.write(b"abc")
    b.pause_reading()
    b.resume_reading()
    await one.until(lambda: one.received)
    await turns()
    assert not b.is_closing()
    assert other.events == ["made", "eof"]
    await finish(ends)


@pytest.mark.contract("3.15")
@pytest.mark.parametrize("paused", [False, True])
async def test_abort_drops_what_was_written(paused: bool) -> None:
    ends = a, one, b, other = make_ends()
    if paused:
        b.pause_reading()
    a.write(bytes(CHUNK))
    a.abort()
    a.abort()
    assert (a.is_closing(), a.get_write_buffer_size()) == (True, 0)
    await one.until_lost()
    await other.until_lost()
    assert other.received == b""
    assert other.events == ["made", "lost"]
    assert one.errors == [None]
    assert isinstance(other.errors[0], ConnectionResetError)
    await finish(ends)


async def test_abort_ends_a_close_that_waits_for_its_reader() -> None:
    ends = a, one, b, _ = make_ends()
    b.pause_reading()
    a.write(bytes(CHUNK))
    a.close()
    await turns()
    assert "lost" not in one.events
    a.abort()
    await one.until_lost()
    await finish(ends)


async def test_a_peer_that_aborts_ends_a_close_without_an_error() -> None:
    ends = a, one, b, _ = make_ends()
    b.pause_reading()
    a.write(bytes(CHUNK))
    a.close()
    b.abort()
    await one.until_lost()
    assert one.errors == [None]
    await finish(ends)


async def test_both_ends_may_close_at_once() -> None:
    ends = a, one, b, other = make_ends()
    a.close()
    b.close()
    await one.until_lost()
    await other.until_lost()
    assert one.errors == other.errors == [None]
    await finish(ends)


async def test_everything_after_the_end_is_ignored() -> None:
    ends = a, _, b, other = make_ends()
    await finish(ends)
    before = list(other.events)
    for transport in (a, b):
        transport.write(b"abc")
        transport.write_eof()
        transport.close()
        transport.abort()
        transport.pause_reading()
        transport.resume_reading()
    await turns()
    assert other.events == before


@pytest.mark.parametrize("method", ["data_received", "eof_received"])
async def test_a_protocol_that_raises_loses_its_connection_alone(method: str) -> None:
    class Broken(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if method == "data_received":
                raise ValueError("broken")

        def eof_received(self) -> bool:
            raise ValueError("broken")

    loop = asyncio.get_running_loop()
    reports: list[dict[str, object]] = []
    usual = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    a, b = make_pair()
    ends = a, one, b, other = a, Recorder(), b, Broken()
    a.start(one)
    b.start(other)
    a.write(b"abc")
    a.write_eof()
    await one.until_lost()
    await finish(ends)
    loop.set_exception_handler(usual)
    assert isinstance(one.errors[0], ConnectionResetError)
    assert str(other.errors[0]) == "broken"
    assert [report["exception"] for report in reports] == other.errors


async def test_a_protocol_that_refuses_to_start_leaves_the_peer_without_connection() -> None:
    class Refusing(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            raise ValueError("refused")

    a, b = make_pair()
    one, other = Recorder(), Refusing()
    a.start(one)
    with pytest.raises(ValueError, match="refused"):
        b.start(other)
    await one.until_lost()
    await finish((a, one, b, other))
