"""A broker, and renderers, for the tests of what blocks."""

from collections.abc import Iterator
from typing import Any

import mainbus.blocking
import pytest
from mainbus.blocking import BlockingRenderer

from tests.support.threads import BrokerThread


@pytest.fixture
def broker(address: str) -> Iterator[BrokerThread]:
    """A broker on a thread of its own."""
    with BrokerThread(address) as running:
        yield running


@pytest.fixture
def renderer(broker: BrokerThread) -> Iterator[BlockingRenderer]:
    with mainbus.blocking.connect(broker.address, name="a") as opened:
        yield opened


@pytest.fixture
def other(broker: BrokerThread, renderer: BlockingRenderer) -> Iterator[BlockingRenderer]:
    """A second renderer, to which the main process passes the ports of "pass"."""

    def hand_over(event: Any, message: object) -> None:
        contents = broker.broker.web_contents.from_name("b")
        assert contents is not None
        contents.post_message("pass", message, event.ports)

    broker.ipc_main.on("pass", hand_over)
    with mainbus.blocking.connect(broker.address, name="b") as opened:
        yield opened
