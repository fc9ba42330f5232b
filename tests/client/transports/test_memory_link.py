"""The link of a memory connection: order, sizes, and who is woken when."""

import threading

from hypothesis import given
from hypothesis import strategies as st
from mainbus.transports.memory_link import CHUNK, Link


class Bell:
    """An end that counts how often it is woken."""

    def __init__(self) -> None:
        self.rung = 0

    def wake(self) -> None:
        self.rung += 1


def make_link() -> tuple[Link, Bell, Bell]:
    link, writer, reader = Link(), Bell(), Bell()
    link.writer, link.reader = writer, reader
    return link, writer, reader


@given(st.lists(st.one_of(st.none(), st.integers(1, 3 * CHUNK), st.integers(1, 100))))
def test_what_is_put_is_taken_in_order(steps: list[int | None]) -> None:
    link, _, _ = make_link()
    sent, received = bytearray(), bytearray()
    for step in [*steps, *[None] * (3 * len(steps))]:
        if step is None:
            data = link.take()
            assert len(data) <= CHUNK
            assert bool(data) == (len(received) < len(sent))
            received += data
            link.consumed(len(data))
        else:
            data = bytes([len(sent) % 251]) * step
            sent += data
            link.put(data)
        assert link.size == len(sent) - len(received)
    assert received == sent
    assert not link.has_news()


def test_bytes_count_until_they_are_consumed() -> None:
    link, _, _ = make_link()
    link.put(b"abc")
    assert link.take() == b"abc"
    assert link.size == 3
    link.consumed(3)
    assert link.size == 0


def test_each_change_wakes_the_reader() -> None:
    link, _, reader = make_link()
    link.put(b"a")
    link.end()
    link.abort()
    assert reader.rung == 3


def test_the_writer_is_woken_once_at_the_level_it_waits_for() -> None:
    link, writer, _ = make_link()
    assert link.is_down_to(0)
    for data in (b"aa", b"bb", b"cc"):
        link.put(data)
    assert not link.is_down_to(3)
    link.consumed(2)
    assert writer.rung == 0
    link.consumed(2)
    assert writer.rung == 1
    link.consumed(2)
    assert writer.rung == 1


def test_a_reader_that_closes_drops_all_and_wakes_the_writer_once() -> None:
    link, writer, _ = make_link()
    link.put(b"abc")
    taken = link.take()
    link.put(b"def")
    link.close()
    link.close()
    link.put(b"ghi")
    link.consumed(len(taken))
    assert (link.size, link.has_news(), link.take(), writer.rung) == (0, False, b"", 1)


def test_a_writer_that_aborts_drops_all() -> None:
    link, _, _ = make_link()
    link.put(b"abc")
    link.abort()
    assert (link.take(), link.ended, link.broken, link.size) == (b"", True, True, 0)


def test_an_end_comes_after_the_bytes() -> None:
    link, _, _ = make_link()
    link.put(b"abc")
    link.end()
    assert (link.take(), link.ended, link.broken, link.has_news()) == (b"abc", True, False, True)


def test_a_writer_and_a_reader_on_two_threads() -> None:
    link, _, _ = make_link()
    total = 20_000

    def write() -> None:
        for number in range(total):
            link.put(number.to_bytes(4, "big"))
        link.end()

    thread = threading.Thread(target=write)
    thread.start()
    received = bytearray()
    while not link.ended or link.size:
        data = link.take()
        received += data
        link.consumed(len(data))
    thread.join()
    assert received == b"".join(number.to_bytes(4, "big") for number in range(total))
