"""The memory transport: what a socket's transport promises, with both ends at hand."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mainbus.transports.memory_link import CHUNK

from tests.support.memory_ends import Recorder, finish, make_ends, make_pair, turns, variable


@pytest.mark.contract("3.15")
async def test_bytes_arrive_in_order_both_ways() -> None:
    ends = a, one, b, other = make_ends()
    for number in range(1000):
        a.write(number.to_bytes(2, "big"))
        b.writelines([b"x", b"y"])
    await one.until(lambda: len(one.received) == 2000)
    await other.until(lambda: len(other.received) == 2000)
    assert other.received == b"".join(number.to_bytes(2, "big") for number in range(1000))
    assert one.received == b"xy" * 1000
    await finish(ends)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 2 * CHUNK) | st.integers(0, 50) | st.just(CHUNK), max_size=12))
async def test_chunks_of_any_size_arrive_whole(sizes: list[int]) -> None:
    ends = a, _, _, other = make_ends()
    sent = bytearray()
    for number, size in enumerate(sizes):
        data = bytes([number]) * size
        sent += data
        a.write(data)
        if number % 3 == 2:
            await asyncio.sleep(0)
    a.close()
    await other.until_lost()
    assert other.received == sent
    assert all(0 < size <= CHUNK for size in other.sizes)
    await finish(ends)


async def test_small_writes_of_one_turn_arrive_together() -> None:
    ends = a, _, _, other = make_ends()
    for _ in range(10):
        a.write(b"abc")
    await other.until(lambda: other.received)
    assert other.sizes == [30]
    await finish(ends)


async def test_nothing_is_called_inside_write() -> None:
    ends = a, _, _, other = make_ends()
    await turns()
    before = list(other.events)
    a.write(b"abc")
    a.write_eof()
    a.abort()
    assert other.events == before
    await finish(ends)


async def test_what_the_caller_changes_later_does_not_cross() -> None:
    ends = a, _, _, other = make_ends()
    data = bytearray(b"abc")
    a.write(data)
    a.write(memoryview(data))
    data[:] = b"xyz"
    await other.until(lambda: other.received)
    assert other.received == b"abcabc"
    await finish(ends)


async def test_write_takes_bytes_only() -> None:
    ends = a, _, _, _ = make_ends()
    with pytest.raises(TypeError, match="not str"):
        a.write("abc")  # type: ignore[arg-type]
    await finish(ends)


async def test_a_large_write_is_not_delivered_in_one_turn() -> None:
    ends = a, _, _, other = make_ends()
    a.write(bytes(4 * CHUNK))
    await other.until(lambda: other.received)
    assert other.sizes == [CHUNK]
    await other.until(lambda: len(other.received) == 4 * CHUNK)
    assert other.sizes == [CHUNK] * 4
    await finish(ends)


# Flow.


@pytest.mark.contract("3.15")
async def test_a_paused_reader_makes_the_writer_wait() -> None:
    ends = a, one, b, other = make_ends()
    low, high = a.get_write_buffer_limits()
    b.pause_reading()
    assert not b.is_reading()
    a.write(bytes(high))
    await turns()
    assert (one.events, a.get_write_buffer_size(), other.received) == (["made"], high, b"")
    a.write(b"x")
    assert one.events == ["made", "pause"]
    a.write(b"x")
    await turns()
    assert (one.events, a.get_write_buffer_size()) == (["made", "pause"], high + 2)
    b.resume_reading()
    assert b.is_reading()
    await one.until(lambda: "resume" in one.events)
    assert one.events == ["made", "pause", "resume"]
    assert a.get_write_buffer_size() <= low
    await finish(ends)


async def test_resume_comes_at_the_low_mark() -> None:
    left = []

    class Resumed(Recorder):
        def resume_writing(self) -> None:
            left.append(a.get_write_buffer_size())
            super().resume_writing()

    a, b = make_pair()
    ends = a, one, b, other = a, Resumed(), b, Recorder()
    a.start(one)
    b.start(other)
    a.set_write_buffer_limits(high=3 * CHUNK, low=CHUNK)
    a.write(bytes(4 * CHUNK))
    assert one.events == ["made", "pause"]
    await one.until(lambda: "resume" in one.events)
    assert left == [CHUNK]
    await finish(ends)


async def test_bytes_that_the_reader_is_busy_with_still_count() -> None:
    a, b = make_pair()
    sizes = []

    class Busy(Recorder):
        def data_received(self, data: bytes) -> None:
            sizes.append(a.get_write_buffer_size())
            super().data_received(data)

    ends = a, one, b, other = a, Recorder(), b, Busy()
    a.start(one)
    b.start(other)
    a.write(b"abc")
    await other.until(lambda: other.received)
    assert sizes == [3]
    await finish(ends)


async def test_pause_inside_data_received_holds_the_rest() -> None:
    a, b = make_pair()

    class Pausing(Recorder):
        def data_received(self, data: bytes) -> None:
            b.pause_reading()
            super().data_received(data)

    ends = a, one, b, other = a, Recorder(), b, Pausing()
    a.start(one)
    b.start(other)
    a.write(bytes(2 * CHUNK))
    await turns()
    assert len(other.received) == CHUNK
    b.resume_reading()
    await other.until(lambda: len(other.received) == 2 * CHUNK)
    await finish(ends)


async def test_limits_follow_asyncios_rules() -> None:
    ends = a, one, b, _ = make_ends()
    assert a.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    a.set_write_buffer_limits(high=100)
    assert a.get_write_buffer_limits() == (25, 100)
    a.set_write_buffer_limits(low=10)
    assert a.get_write_buffer_limits() == (10, 40)
    with pytest.raises(ValueError, match="must be >= low"):
        a.set_write_buffer_limits(high=1, low=2)
    b.pause_reading()
    a.write(bytes(30))
    a.set_write_buffer_limits(high=0)
    assert one.events == ["made", "pause"]
    await turns()
    a.set_write_buffer_limits(high=100, low=50)
    await one.until(lambda: "resume" in one.events)
    a.set_write_buffer_limits()
    assert a.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    await finish(ends)


async def test_a_reader_that_closes_lets_the_writer_go_on() -> None:
    ends = a, one, b, other = make_ends()
    one.half_open = True
    b.pause_reading()
    a.write(bytes(CHUNK))
    b.close()
    await one.until(lambda: "resume" in one.events)
    a.write(bytes(CHUNK))
    assert a.get_write_buffer_size() == 0
    await turns()
    assert other.received == b""
    await finish(ends)


# What a transport tells, and whom it calls.


async def test_extra_info() -> None:
    ends = a, _, b, _ = make_ends()
    assert a.get_extra_info("peername") == b.get_extra_info("sockname") == "memory:"
    assert a.get_extra_info("socket") is None
    await finish(ends)


async def test_another_protocol_gets_what_comes_from_now_on() -> None:
    a, one, b, other = make_ends()
    a.write(b"abc")
    await other.until(lambda: other.received)
    later = Recorder()
    later.connection_made(b)
    b.set_protocol(later)
    assert b.get_protocol() is later
    a.write(b"def")
    await later.until(lambda: later.received)
    assert (other.received, later.received) == (b"abc", b"def")
    with pytest.raises(TypeError, match=r"asyncio\.Protocol"):
        b.set_protocol(asyncio.BaseProtocol())
    await finish((a, one, b, later))


async def test_a_reader_does_not_see_its_writers_context() -> None:
    ends = a, one, b, other = make_ends()
    await turns()
    variable.set("the writer's")
    b.pause_reading()
    a.write(bytes(CHUNK))
    b.resume_reading()
    await one.until(lambda: "resume" in one.events)
    a.close()
    await other.until_lost()
    assert one.seen - {"the writer's"} == other.seen == {"unset"}
    await finish(ends)


# Across threads.


@contextmanager
def loop_in_a_thread() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of the same kind as the running one, in a thread of its own."""
    loop = type(asyncio.get_running_loop())()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Echo(asyncio.Protocol):
    """Sends back what it gets, in flow with its peer; lives in another thread."""

    def __init__(self) -> None:
        self.threads: set[int] = set()
        self.lost = threading.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.transport.write(data)

    def pause_writing(self) -> None:
        self.threads.add(threading.get_ident())
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        self.threads.add(threading.get_ident())
        self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.threads.add(threading.get_ident())
        self.lost.set()


@pytest.mark.contract("3.15")
async def test_two_loops_in_two_threads() -> None:
    with loop_in_a_thread() as there:
        a, b = make_pair(there)
        one, echo = Recorder(), Echo()
        there.call_soon_threadsafe(b.start, echo)
        a.start(one)
        sent = bytearray()
        for number in range(300):
            data = bytes([number % 256]) * (number * 97 % 9000 + 1)
            sent += data
            a.write(data)
            if one.events.count("pause") > one.events.count("resume"):
                await one.until(lambda: one.events.count("pause") == one.events.count("resume"))
        await one.until(lambda: len(one.received) == len(sent))
        a.close()
        await one.until_lost()
        assert await asyncio.to_thread(echo.lost.wait)
    assert one.received == sent
    assert {"pause", "resume"} <= set(one.events)
    assert one.threads == {threading.get_ident()}
    assert len(echo.threads) == 1
    assert not one.threads & echo.threads


async def test_bytes_written_before_the_peer_starts_wait_for_it() -> None:
    a, b = make_pair()
    one, other = Recorder(), Recorder()
    a.start(one)
    a.write(b"abc")
    a.close()
    await turns()
    b.start(other)
    await other.until_lost()
    assert other.events == ["made", "data", "eof", "lost"]
    await finish((a, one, b, other))


async def test_a_peer_whose_loop_was_closed_is_gone() -> None:
    with loop_in_a_thread() as there:
        a, b = make_pair(there)
        one, echo = Recorder(), Echo()
        a.start(one)
        there.call_soon_threadsafe(b.start, echo)
        a.write(b"abc")
        await one.until(lambda: one.received)
    a.write(b"def")
    await one.until_lost()
    assert isinstance(one.errors[0], ConnectionResetError)
    assert a.get_write_buffer_size() == 0
