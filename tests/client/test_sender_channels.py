"""Channels with a choice of senders; all else they share with Channels, whose tests run on both."""

import pytest
from mainbus.sender_channels import SenderChannels
from mainbus.target import Target

LISTENING = ["on", "add_listener", "once"]
HANDLING = ["handle", "handle_once"]


def one(event: object) -> None: ...


def registered(channels: SenderChannels) -> Target:
    target = channels.handler("x") or channels.listeners("x")[0]
    channels.remove_handler("x")
    channels.remove_all_listeners()
    return target


@pytest.mark.contract("3.2")
@pytest.mark.parametrize("method", LISTENING + HANDLING)
def test_main_unless_told_otherwise(method: str) -> None:
    channels = SenderChannels()
    getattr(channels, method)("x", one)
    assert registered(channels).senders == "main"
    for senders in ("main", "renderers", "any"):
        getattr(channels, method)("x", one, senders=senders)
        assert registered(channels).senders == senders
        getattr(channels, method)("x", senders=senders)(one)
        assert registered(channels).senders == senders


@pytest.mark.contract("3.2")
@pytest.mark.parametrize("method", LISTENING + HANDLING)
def test_no_such_senders(method: str) -> None:
    channels = SenderChannels()
    for rest in ((one,), ()):
        with pytest.raises(ValueError, match="Expected senders to be 'main', 'renderers' or 'any', but found 'all'"):
            getattr(channels, method)("x", *rest, senders="all")
    assert channels.channels() == {}


@pytest.mark.contract("2.4", "3.2")
@pytest.mark.parametrize("method", HANDLING)
def test_one_handler_a_channel_whosever_invokes_it_takes(method: str) -> None:
    channels = SenderChannels()
    channels.handle("x", one, senders="main")
    with pytest.raises(ValueError, match=r"^Attempted to register a second handler for 'x'$"):
        getattr(channels, method)("x", one, senders="renderers")
    getattr(channels, method)("x", one, senders="renderers", replace=True)
    assert registered(channels).senders == "renderers"


def test_once_and_thread_go_with_senders() -> None:
    channels = SenderChannels()
    channels.once("x", one, senders="any", thread=True)
    target = registered(channels)
    assert (target.once, target.thread, target.senders) == (True, True, "any")
    channels.handle_once("x", one, senders="any", thread=True)
    target = registered(channels)
    assert (target.once, target.thread, target.senders) == (True, True, "any")
