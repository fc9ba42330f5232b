"""The audit finds what was planted in a ledger, and nothing in one that is in order."""

import pytest

from tests.chaos.audit import audit, messages
from tests.chaos.ledger import Book, parse

GOOD = """
0 start {who}
1 sent r1 0 send
2 sent r1 1 ask
3 sent r1 2 send
4 sent r1 3 send
20 end r1 1 ok
21 reply r1.1 1
90 bye
"""

RECEIVED = """
0 start r1.1
11 got r0.1 0 5
12 got r0.1 1 5
13 got r0.1 2 5
14 got r0.1 3 5
91 bye
"""


def book(text: str, who: str = "r0.1") -> Book:
    """Return the ledger of a text, whose lines are in the order of time."""
    lines = sorted(filter(None, text.format(who=who).splitlines()), key=lambda line: int(line.split()[0]))
    return parse("".join(f"{line}\n" for line in lines))


def found(sender: str = GOOD, *receivers: str) -> list[str]:
    return [text for _, text in audit([book(sender), *(book(text) for text in receivers or (RECEIVED,))])]


def test_in_good_order_nothing_is_found() -> None:
    assert found() == []
    assert messages([book(GOOD), book(RECEIVED)]) == 5


def test_the_line_in_which_a_process_was_killed_is_no_line() -> None:
    assert [entry.what for entry in parse("0 start r0.1\n1 sent r1 0 se").entries] == ["start"]


# Planted


def test_a_duplicate_is_found() -> None:
    assert found(GOOD, RECEIVED + "15 got r0.1 2 5\n") == ["r0.1 -> r1: number 2 has arrived twice, again at r1.1"]


def test_a_duplicate_at_the_next_incarnation_is_found() -> None:
    again = "30 start r1.2\n31 got r0.1 3 5\n92 bye"
    assert found(GOOD, RECEIVED, again) == ["r0.1 -> r1: number 3 has arrived twice, again at r1.2"]


def test_a_reordering_is_found() -> None:
    swapped = RECEIVED.replace("got r0.1 2 5", "got r0.1 x 5").replace("0.1 1 5", "0.1 2 5").replace("x", "1")
    assert found(GOOD, swapped) == ["r0.1 -> r1: number 1 has arrived behind 2 at r1.1"]


def test_after_a_reconnect_it_is_another_sender() -> None:
    assert found(GOOD, RECEIVED.replace("11 got r0.1 0 5", "").replace("91", "17 got r0.1 0 4\n91")) == []


def test_a_message_that_nobody_has_sent_is_found() -> None:
    assert found(GOOD, RECEIVED + "15 got r0.1 7 5\n") == ["r0.1 -> r1: number 7 has arrived and was never sent"]


def test_a_message_whose_verb_has_raised_is_found() -> None:
    (text,) = found(GOOD + "5 unsent r1 3\n")
    assert text == "r0.1 -> r1: number 3 has arrived, though its verb raised"


@pytest.mark.parametrize(("lost", "numbers"), [("2", "2"), ("3", "3"), ("0", "0")])
def test_a_loss_is_found(lost: str, numbers: str) -> None:
    kept = "\n".join(line for line in RECEIVED.splitlines() if f"got r0.1 {lost} " not in line)
    assert found(GOOD, kept) == [f"r0.1 -> r1: missing {numbers} without a gap, 0 told as undeliverable"]


def test_two_outcomes_and_none_are_found() -> None:
    assert found(GOOD + "22 end r1 1 ConnectionLost\n") == [
        "r0.1 -> r1: ask 1 has 2 outcomes: ['ok', 'ConnectionLost']"
    ]
    assert found(GOOD.replace("20 end r1 1 ok\n", "")) == ["r0.1 -> r1: ask 1 has 0 outcomes: []"]


def test_an_answer_from_nobody_is_found() -> None:
    (text, *_) = found(GOOD, RECEIVED.replace("12 got r0.1 1 5\n", ""))
    assert text == "r0.1 -> r1: ask 1 was answered by nobody who has got it"


def test_replies_out_of_order_are_found() -> None:
    assert found(GOOD + "22 reply r1.1 3\n23 reply r1.1 2\n") == ["r1.1 -> r0.1: reply 2 came behind reply 3"]


def test_what_a_process_has_seen_itself_is_found() -> None:
    assert found(GOOD + "22 wrong left behind: a file\n") == ["r0.1: left behind: a file"]
    assert found(GOOD + "22 stream r1 5 4 ok\n") == ["r0.1: a stream of 5 items from r1 has ended well after 4"]


# Excuses


LOST_2 = RECEIVED.replace("13 got r0.1 2 5\n", "")


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [
        (GOOD + "5 undeliverable r1\n", LOST_2),
        (GOOD + "5 told disconnected\n", LOST_2 + "13 told gap\n"),
        # It has heard of its loss behind what it has sent on its next connection.
        (GOOD + "40 told disconnected\n", LOST_2 + "13 told gap\n"),
        (GOOD, LOST_2 + "12 told disconnected\n13 told gap\n"),
        (
            GOOD.replace("3 sent", "13 sent").replace("4 sent", "13 sent"),
            LOST_2 + "12 told disconnected\n12 told gap\n",
        ),
        (GOOD.replace("3 sent r1 2 send", "3 sent r1 2 ask") + "9 end r1 2 InvokeTimeout\n", LOST_2),
        (GOOD + "4 unsent r1 2\n", LOST_2),
    ],
)
def test_a_loss_with_an_excuse_is_none(sender: str, receiver: str) -> None:
    assert found(sender, receiver) == []


@pytest.mark.parametrize(
    ("sender", "receiver"),
    [
        # A gap without a loss; a loss without a gap; a gap behind the next message.
        (GOOD, LOST_2 + "13 told gap\n"),
        (GOOD + "5 told disconnected\n", LOST_2),
        (GOOD + "5 told disconnected\n", LOST_2 + "15 told gap\n"),
        (GOOD + "5 undeliverable r2\n", LOST_2),
    ],
)
def test_half_an_excuse_is_none(sender: str, receiver: str) -> None:
    assert len(found(sender, receiver)) == 1


def test_what_a_killed_process_has_sent_last_or_was_sent_may_be_lost_if_others_are_told() -> None:
    killed = "\n".join(RECEIVED.splitlines()[:4])
    heir = "50 start r1.2\n51 got r0.1 4 6\n91 bye"
    sender = GOOD + "52 sent r1 4 send\n".replace("52", "49")
    assert found(sender + "30 told gap\n", killed, heir) == []
    assert found(sender, killed, heir) == ["r0.1 -> r1: missing 2-3 without a gap, 0 told as undeliverable"]
    dead = GOOD.replace("90 bye\n", "")
    assert found(dead, RECEIVED.replace("14 got r0.1 3 5\n", "")) == []


def test_in_the_main_process_only_another_connection_excuses_a_loss() -> None:
    sender, main = GOOD.replace(" r1 ", " main "), LOST_2.replace("start r1.1", "start main.1")
    assert len(found(sender + "5 told disconnected\n", main)) == 1
    assert found(sender + "5 told disconnected\n", main.replace("3 5", "3 6")) == []


def test_a_request_of_a_process_that_is_gone_may_have_been_cancelled_before_it_began() -> None:
    sender = GOOD.replace("20 end r1 1 ok\n21 reply r1.1 1\n", "")
    receiver = RECEIVED.replace("12 got r0.1 1 5\n", "")
    assert found(sender.replace("90 bye\n", ""), receiver) == []
    assert len(found(sender, receiver)) == 2


def test_a_connection_that_was_lost_for_no_fault_of_ours_is_found() -> None:
    assert found(GOOD + "5 told disconnected the broker is gone\n") == []
    (text,) = found(GOOD + "5 told disconnected packet of kind ABORT inside another message\n")
    assert text == "r0.1: was disconnected: packet of kind ABORT inside another message"


# Ports

POSTER = "0 start r0.1\n1 posted p 0\n2 posted p 1\n3 posted p 2\n4 ended p 3\n90 bye"
TAKER = "0 start r1.1\n5 port p 0\n6 port p 1\n7 port p 2\n91 bye"


def test_a_port_in_order_is_in_order() -> None:
    assert found(POSTER, TAKER) == []


@pytest.mark.parametrize(
    ("poster", "taker", "expected"),
    [
        (POSTER, TAKER.replace("5 port p 0\n", ""), "port p at r1.1: has brought 1-2"),
        (POSTER, TAKER.replace("6 port p 1", "6 port p 0"), "port p at r1.1: has brought 0, 0, 2"),
        (POSTER, TAKER.replace("7 port p 2\n", ""), "port p at r1.1: 2 of 3 have arrived"),
        (POSTER.replace("3 posted p 2\n", ""), TAKER, "port p at r1.1: more has arrived than was posted"),
    ],
)
def test_what_is_wrong_with_a_port_is_found(poster: str, taker: str, expected: str) -> None:
    assert found(poster, taker) == [expected]


@pytest.mark.parametrize("lost", ["poster", "taker"])
def test_the_end_of_a_port_may_be_lost_with_a_connection(lost: str) -> None:
    poster = POSTER + ("\n5 told disconnected" if lost == "poster" else "")
    taker = TAKER.replace("7 port p 2", "7 told disconnected" if lost == "taker" else "")
    assert found(poster, taker) == []
