"""`mainbus.blocking.connect` checks what it is given before anything is opened."""

import mainbus
import mainbus.blocking
import pytest
from mainbus.blocking.opening import connect

from tests.support.threads import BrokerThread


@pytest.mark.contract("3.14")
def test_it_is_checked_before_it_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    assert mainbus.blocking.connect is connect
    with pytest.raises(ValueError, match="name"):
        connect("memory:x", name="")
    with pytest.raises(mainbus.AddressError):
        connect("nowhere:x")
    monkeypatch.setenv("MAINBUS_ADDRESS", "memory:there")
    assert not connect().is_connected


@pytest.mark.contract("2.21")
def test_a_token_of_the_environment_is_taken_once(broker: BrokerThread, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINBUS_TOKEN", "unknown")
    renderer, other = connect(broker.address), connect(broker.address)
    with pytest.raises(mainbus.ConnectRefused):
        renderer.open()
    with other:
        assert other.is_connected
