"""Sets of renderers that cost nothing while they are empty."""

from typing import Any

from mainbus_broker.partners import NOBODY, Peers, joined, parted


def test_the_first_partner_makes_a_set_of_ones_own() -> None:
    one: Any = object()
    other: Any = object()
    nobody: Peers = NOBODY
    peers = joined(nobody, one)
    assert peers == {one}
    assert joined(peers, other) is peers
    assert peers == {one, other}
    assert not NOBODY


def test_the_last_one_to_go_leaves_the_shared_set() -> None:
    one: Any = object()
    other: Any = object()
    peers = joined(joined(NOBODY, one), other)
    assert parted(peers, one) == {other}
    assert parted(peers, one) == {other}
    assert parted(peers, other) is NOBODY
    assert parted(NOBODY, one) is NOBODY
