"""Both kinds of renderer receive what the protocol says."""

import inspect
from typing import Any

import pytest
from mainbus import arrivals
from mainbus.blocking import arrivals as blocking
from mainbus.receiver import Receiver

METHODS = [name for name, value in vars(Receiver).items() if inspect.isfunction(value) and not name.startswith("_")]


@pytest.mark.parametrize("receiver", [arrivals.Arrivals, blocking.Arrivals])
@pytest.mark.parametrize("name", METHODS)
def test_each_method_takes_what_the_session_hands_over(receiver: type[Any], name: str) -> None:
    wanted = inspect.signature(getattr(Receiver, name)).parameters
    found = inspect.signature(getattr(receiver, name)).parameters
    assert [(p.name, p.kind) for p in found.values()] == [(p.name, p.kind) for p in wanted.values()]
