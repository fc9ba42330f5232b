"""The credit of a stream or port."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from mainbus.wire.credit import OVERHEAD, WINDOW, Receiving, Sending, cost


@given(sizes=st.lists(st.integers(0, 2 * WINDOW), max_size=300))
def test_a_sender_never_waits_for_a_receiver_that_has_taken_all(sizes: list[int]) -> None:
    sending, receiving = Sending(), Receiving()
    on_the_way: deque[int] = deque()
    for size in sizes:
        while not sending.may_send:
            assert on_the_way, "everything was taken, and still the sender may not send"
            sending.credited(receiving.taken(on_the_way.popleft()))
        sending.sent(size)
        on_the_way.append(size)
        assert sum(map(cost, on_the_way)) < WINDOW + cost(size)


def test_a_window_holds_a_number_of_small_messages() -> None:
    sending, count = Sending(), 0
    while sending.may_send:
        sending.sent(0)
        count += 1
    assert count == WINDOW // OVERHEAD


def test_no_credit_is_given_for_what_was_never_sent() -> None:
    sending = Sending(used=10)
    sending.credited(WINDOW)
    assert sending.used == 0
