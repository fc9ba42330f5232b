"""A registration is cancelled once, by hand or at the end of a with block."""

import weakref

import pytest
from mainbus.registration import Registration


def test_cancel_is_idempotent() -> None:
    cancelled: list[int] = []
    registration = Registration(lambda: cancelled.append(1))
    registration.cancel()
    registration.cancel()
    assert cancelled == [1]


@pytest.mark.contract("2.3")
def test_context_manager_cancels_also_after_an_error() -> None:
    cancelled: list[int] = []
    with Registration(lambda: cancelled.append(1)) as registration:
        assert isinstance(registration, Registration)
        assert not cancelled
    assert cancelled == [1]
    with pytest.raises(KeyError), Registration(lambda: cancelled.append(2)):
        raise KeyError
    assert cancelled == [1, 2]


def test_a_cancelled_one_keeps_nothing_alive() -> None:
    class Owner:
        def cancel(self) -> None: ...

    owner = Owner()
    kept = weakref.ref(owner)
    registration = Registration(owner.cancel)
    del owner
    assert kept() is not None
    registration.cancel()
    assert kept() is None
