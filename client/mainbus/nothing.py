"""An empty queue that many share until they have something to queue.

An empty deque has 760 bytes, and most renderers and most routes of a large application are idle.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

NOTHING: Final[deque[Any]] = deque(maxlen=0)
"""Stays empty whatever is done to it; who wants to append takes a deque of its own first."""
