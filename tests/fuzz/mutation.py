"""How an input is changed into another one."""

from __future__ import annotations

import random

MOST = 2048
"""Bytes of an input, at most: bounds are reached with small limits, not with large inputs."""

INTERESTING = (*(bytes((byte,)) for byte in b"\x00\x01\x17\x18\x1f\x7f\x80\xff"), b"\xff" * 4, b"\x00\x02\x00\x00")
"""Bounds of CBOR's heads and of our own."""


def mutate(data: bytes, others: list[bytes], dice: random.Random) -> bytes:
    """Return a variation of `data`; `others` lend their parts."""
    changed = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 8))):
        at = dice.randint(0, len(changed))
        size = dice.choice((1, 1, 2, 4, 8, 24, 64))
        match dice.randrange(8):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << dice.randrange(8)
            case 1 if changed:
                changed[at % len(changed)] = dice.randrange(256)
            case 2:
                changed[at:at] = dice.randbytes(size)
            case 3:
                del changed[at : at + size]
            case 4:
                changed[at : at + size] = dice.choice(INTERESTING)
            case 5:
                # Twice, which no structure forbids more often than it should.
                changed[at:at] = changed[at : at + size]
            case 6:
                other = dice.choice(others)
                start = dice.randint(0, len(other))
                changed[at : at + size] = other[start : start + dice.choice((size, 256))]
            case _ if changed:
                # A number a little off: lengths, counts.
                place = at % len(changed)
                changed[place] = (changed[place] + dice.choice((-2, -1, 1, 2))) % 256
    return bytes(changed[:MOST])
