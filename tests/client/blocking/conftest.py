"""A broker for the tests of what blocks."""

from collections.abc import Iterator

import pytest

from tests.support.threads import BrokerThread


@pytest.fixture
def broker(address: str) -> Iterator[BrokerThread]:
    """A broker on a thread of its own."""
    with BrokerThread(address) as running:
        yield running
