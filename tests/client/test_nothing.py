"""The empty queue that many share."""

from mainbus.nothing import NOTHING


def test_it_stays_empty_whatever_is_done_to_it() -> None:
    NOTHING.append("lost")
    NOTHING.appendleft("lost")
    assert not NOTHING
    assert len(NOTHING) == 0
