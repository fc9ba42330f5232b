"""The package names what is public, and imports it when it is asked for."""

import subprocess
import sys

import mainbus.ports
import mainbus_broker
import pytest


def test_every_public_name_is_there() -> None:
    assert all(getattr(mainbus_broker, name).__module__ for name in mainbus_broker.__all__)
    assert set(mainbus_broker.__all__) <= set(dir(mainbus_broker))
    assert mainbus_broker.MessageChannelMain is mainbus.ports.MessageChannel
    assert mainbus_broker.Broker.__name__ == "Broker"


def test_another_name_is_not() -> None:
    with pytest.raises(AttributeError, match="module 'mainbus_broker' has no attribute 'Brocker'"):
        _ = mainbus_broker.Brocker


def test_nothing_is_imported_before() -> None:
    code = "import sys, mainbus_broker; print('mainbus_broker.broker' in sys.modules, 'asyncio' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )
