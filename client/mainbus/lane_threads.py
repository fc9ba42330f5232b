"""The brokers of this process, by instance, and the thread of the loop that each runs on.

A call that blocks such a thread would wait for itself; whoever offers one asks here first.
"""

from typing import Final

BROKER_THREADS: Final[dict[bytes, int]] = {}
