"""Turns: what one renderer may have served in one turn of the loop, so that none starves another."""

from __future__ import annotations

from typing import Final

from mainbus.quick import COMPILED

TURN_PACKETS: Final = 128
TURN_BYTES: Final = 64 * 1024
"""What a turn has at most."""

PACKET_BYTES: Final = TURN_BYTES // TURN_PACKETS
"""Bytes in a share of a turn for each packet in it."""

LONG_WAY: Final = 8 if COMPILED else 1
"""What a packet counts as that is not taken at once: what is compiled takes one in a small part of the time."""

MOST_SHARES: Final = 4
"""Into how many shares a turn is divided at most, when several have more to say than fits into theirs."""

LEAST_PACKETS: Final = TURN_PACKETS // MOST_SHARES
"""What one that has more to say than fits gets in a turn at least, however little all the others have to say."""

POLITE_TURNS: Final = 8
"""Turns for which it gets no more than that behind the latest word of another one, whose next word may be near."""


def share(hungry: int, most: int = TURN_PACKETS) -> tuple[int, int]:
    """Return how many packets and bytes one turn may have.

    Args:
        hungry: How many others have more to say than fits into theirs.
        most: Packets that it has at most.
    """
    count = min(most, TURN_PACKETS // min(hungry + 1, MOST_SHARES))
    return count, count * PACKET_BYTES
