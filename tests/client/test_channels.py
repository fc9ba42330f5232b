"""Channels: registering, taking out, looking up; the texts of refusals."""

import sys
from collections.abc import Callable
from typing import Any

import pytest
from mainbus import channels as module
from mainbus.channels import Channels, Target, check_channel
from mainbus.registration import Registration
from mainbus.sender_channels import SenderChannels

REGISTERING = ["on", "add_listener", "once", "handle", "handle_once"]
LISTENING = REGISTERING[:3]
HANDLING = REGISTERING[3:]


def one(event: object, *args: object) -> None: ...
def two(event: object, *args: object) -> None: ...


@pytest.fixture(params=[Channels, SenderChannels])
def channels(request: pytest.FixtureRequest) -> Channels:
    made: Channels = request.param()
    return made


def functions(channels: Channels, channel: str = "x") -> list[Callable[..., Any]]:
    return [target.fn for target in channels.listeners(channel)]


@pytest.mark.contract("2.2")
def test_a_fresh_one_has_none(channels: Channels) -> None:
    assert channels.channels() == {}
    assert channels.listener_count("x") == 0
    assert channels.listeners("x") == ()
    assert channels.handler("x") is None


@pytest.mark.contract("2.2")
def test_channels_tells_listeners_and_handler(channels: Channels) -> None:
    channels.on("both", one)
    channels.once("both", one)
    channels.handle("both", one)
    channels.handle_once("handled", one)
    channels.on("heard", one)
    found = channels.channels()
    assert found == {"both": (2, True), "heard": (1, False), "handled": (0, True)}
    assert (found["both"].listeners, found["both"].has_handler) == (2, True)
    assert channels.listener_count("both") == 2


@pytest.mark.contract("2.3")
@pytest.mark.parametrize("method", REGISTERING)
def test_a_decorator_returns_the_function(channels: Channels, method: str) -> None:
    assert getattr(channels, method)("x")(one) is one
    target = channels.handler("x") if method in HANDLING else channels.listeners("x")[0]
    assert target is not None
    assert target.fn is one
    assert target.once is ("once" in method)


@pytest.mark.contract("2.3")
@pytest.mark.parametrize("method", REGISTERING)
def test_with_a_function_it_is_a_registration(channels: Channels, method: str) -> None:
    registration = getattr(channels, method)("x", one)
    assert isinstance(registration, Registration)
    assert list(channels.channels()) == ["x"]
    registration.cancel()
    registration.cancel()
    assert channels.channels() == {}
    with getattr(channels, method)("x", one):
        assert list(channels.channels()) == ["x"]
    assert channels.channels() == {}


@pytest.mark.contract("2.3")
def test_a_registration_cancels_exactly_itself(channels: Channels) -> None:
    first = channels.on("x", one)
    channels.on("x", two)
    channels.on("x", one)
    first.cancel()
    assert functions(channels) == [two, one]
    old = channels.handle("x", one)
    channels.handle("x", two, replace=True)
    old.cancel()
    handler = channels.handler("x")
    assert handler is not None
    assert handler.fn is two


@pytest.mark.contract("2.4")
@pytest.mark.parametrize("method", HANDLING)
def test_a_second_handler_is_refused_before_anything_is_said_about_it(channels: Channels, method: str) -> None:
    channels.handle("x", one)
    refused = "^Attempted to register a second handler for 'x'$"
    for fn in (two, 3, lambda: None):
        with pytest.raises(ValueError, match=refused):
            getattr(channels, method)("x", fn)
    with pytest.raises(ValueError, match=refused):
        getattr(channels, method)("x")(two)
    handler = channels.handler("x")
    assert handler is not None
    assert handler.fn is one


@pytest.mark.contract("2.4")
@pytest.mark.parametrize("method", HANDLING)
def test_replace_swaps_the_handler(channels: Channels, method: str) -> None:
    channels.handle("x", one)
    getattr(channels, method)("x", two, replace=True)
    handler = channels.handler("x")
    assert handler is not None
    assert handler.fn is two
    with pytest.raises(TypeError):
        getattr(channels, method)("x", 3, replace=True)
    assert channels.handler("x") is handler


@pytest.mark.contract("2.5")
@pytest.mark.parametrize("method", REGISTERING)
def test_not_callable(channels: Channels, method: str) -> None:
    with pytest.raises(TypeError, match=r"^Expected handler to be a function, but found type 'int'$"):
        getattr(channels, method)("x", 3)
    with pytest.raises(TypeError, match=r"^Expected handler to take \(event, \*args\), but "):
        getattr(channels, method)("x", lambda: None)
    with pytest.raises(TypeError, match=r"^Expected handler to take \(event, \*args\), but "):
        getattr(channels, method)("x")(lambda: None)
    assert channels.channels() == {}


GOOD = ["error", "dialog:open-file", " ", "\0", "a" * 255, "é" * 127, "\U0001f600" * 63]
BAD: list[tuple[Any, str]] = [
    (3, "type 'int'"),
    (b"x", "type 'bytes'"),
    (None, "type 'NoneType'"),
    ([], "type 'list'"),
    ("", "0 bytes"),
    ("a" * 256, "256 bytes"),
    ("é" * 128, "256 bytes"),
    ("\ud800", "a lone surrogate in '\\\\ud800'"),
]


@pytest.mark.contract("2.5")
@pytest.mark.parametrize("channel", GOOD, ids=range(len(GOOD)))
def test_any_text_is_a_channel(channels: Channels, channel: str) -> None:
    for _ in range(2):
        assert check_channel(channel) == channel.encode()
    channels.on(channel, one)
    assert functions(channels, channel) == [one]


@pytest.mark.contract("2.5")
@pytest.mark.parametrize(("channel", "found"), BAD, ids=range(len(BAD)))
def test_anything_else_is_none(channels: Channels, channel: Any, found: str) -> None:
    text = f"^Expected channel to be a str of 1 to 255 bytes of UTF-8, but found {found}$"
    for _ in range(2):
        with pytest.raises(TypeError, match=text):
            check_channel(channel)
    for method in REGISTERING:
        for rest in ((one,), ()):
            with pytest.raises(TypeError, match=text):
                getattr(channels, method)(channel, *rest)
    assert channels.channels() == {}


def test_the_memory_of_encoded_channels_is_bounded() -> None:
    for number in range(module.MAX_ENCODED + 10):
        assert check_channel(f"bounded:{number}") == f"bounded:{number}".encode()
    assert len(module.ENCODED) <= module.MAX_ENCODED


@pytest.mark.contract("2.6")
def test_order_duplicates_and_off(channels: Channels) -> None:
    channels.on("x", one)
    channels.add_listener("x", two)
    channels.on("x", one)
    channels.on("other", one)
    assert functions(channels) == [one, two, one]
    channels.off("x", one)
    assert functions(channels) == [one, two]
    channels.remove_listener("x", one)
    channels.remove_listener("x", one)
    channels.off("unknown", one)
    assert functions(channels) == [two]
    assert functions(channels, "other") == [one]


@pytest.mark.contract("2.6")
def test_listeners_is_a_snapshot(channels: Channels) -> None:
    channels.on("x", one)
    before = channels.listeners("x")
    assert channels.listeners("x") is before, "nothing is copied while nothing changes"
    channels.on("x", two)
    channels.off("x", one)
    assert [target.fn for target in before] == [one]
    assert functions(channels) == [two]


@pytest.mark.contract("2.6")
def test_once_is_consumed_once_and_taken_out(channels: Channels) -> None:
    channels.once("x", one)
    channels.on("x", two)
    target = channels.listeners("x")[0]
    assert target.once
    assert target.consume()
    assert functions(channels) == [two]
    assert not target.consume()
    channels.once("x", one)
    channels.off("x", one)
    assert functions(channels) == [two]


@pytest.mark.contract("2.6")
def test_handle_once_is_consumed_once_and_taken_out(channels: Channels) -> None:
    channels.handle_once("x", one)
    target = channels.handler("x")
    assert target is not None
    assert target.consume()
    assert channels.handler("x") is None
    # Another one may have the channel by now.
    channels.handle("x", two)
    assert not target.consume()
    assert channels.handler("x") is not None


@pytest.mark.contract("2.6")
def test_a_replaced_handle_once_does_not_take_out_its_successor(channels: Channels) -> None:
    channels.handle_once("x", one)
    target = channels.handler("x")
    assert target is not None
    channels.handle("x", two, replace=True)
    assert target.consume()
    handler = channels.handler("x")
    assert handler is not None
    assert handler.fn is two


@pytest.mark.contract("2.6")
def test_remove_all_listeners_leaves_handlers(channels: Channels) -> None:
    for channel in "xyz":
        channels.on(channel, one)
        channels.handle(channel, one)
    channels.remove_all_listeners("x")
    assert channels.channels() == {"x": (0, True), "y": (1, True), "z": (1, True)}
    channels.remove_all_listeners()
    assert channels.channels() == {"x": (0, True), "y": (0, True), "z": (0, True)}


@pytest.mark.contract("2.6")
def test_remove_handler_of_an_unknown_channel_does_nothing(channels: Channels) -> None:
    channels.on("x", one)
    channels.remove_handler("x")
    channels.handle("x", one)
    channels.remove_handler("x")
    assert channels.channels() == {"x": (1, False)}
    channels.handle("x", one)


@pytest.mark.contract("2.9")
def test_targets_know_what_their_callable_takes(channels: Channels) -> None:
    channels.on("x", lambda event, a: None)
    (target,) = channels.listeners("x")
    assert isinstance(target, Target)
    assert (target.least, target.most) == (1, 1)
    channels.on("y", one)
    assert channels.listeners("y")[0].most == sys.maxsize


@pytest.mark.contract("2.10")
@pytest.mark.parametrize("method", REGISTERING)
def test_thread_is_kept(channels: Channels, method: str) -> None:
    getattr(channels, method)("x", one, thread=True)
    getattr(channels, method)("y", thread=True)(one)
    getattr(channels, method)("z", one)
    for channel, thread in (("x", True), ("y", True), ("z", False)):
        target = channels.handler(channel) if method in HANDLING else channels.listeners(channel)[0]
        assert target is not None
        assert target.thread is thread


@pytest.mark.parametrize("method", REGISTERING)
def test_the_main_process_has_no_choice_of_senders(method: str) -> None:
    channels = Channels()
    with pytest.raises(TypeError, match="senders"):
        getattr(channels, method)("x", one, senders="main")
    getattr(channels, method)("x", one)
    target = channels.handler("x") if method in HANDLING else channels.listeners("x")[0]
    assert target is not None
    assert target.senders == "any"
