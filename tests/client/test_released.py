"""The errors of a session that cannot be used."""

import pytest
from mainbus import ObjectDestroyedError, SendQueueFull
from mainbus.address import Address
from mainbus.released import again, refused, released


def test_a_closed_renderer_says_electrons_text() -> None:
    error = released()
    assert isinstance(error, ObjectDestroyedError)
    assert str(error) == "IPC method called after context was released"


def test_each_caller_gets_an_error_of_its_own_with_all_that_the_first_has() -> None:
    first = SendQueueFull(7, "editor")
    second = again(first)
    assert second is not first
    assert type(second) is SendQueueFull
    assert (str(second), vars(second)) == (str(first), vars(first))
    with pytest.raises(SendQueueFull):
        raise second
    assert first.__traceback__ is None


@pytest.mark.contract("9.7")
@pytest.mark.parametrize("error", [FileNotFoundError(), ConnectionRefusedError()])
def test_no_broker_there_names_address_and_remedies(error: OSError) -> None:
    text = str(refused(Address("unix", "/x/s"), error))
    for part in ("unix:/x/s", "mainbus serve", "MAINBUS_ADDRESS", "connect_timeout"):
        assert part in text


def test_another_reason_is_told_as_it_is() -> None:
    assert "no room" in str(refused(Address("unix", "/x/s"), OSError("no room")))
