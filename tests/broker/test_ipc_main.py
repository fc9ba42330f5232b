"""IpcMain is what the main process registers with, before a broker runs, with Electron's words and rules."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from mainbus import Registration
from mainbus_broker import Broker, IpcMain

from tests.support.bus import Bus


class Handler:
    """A callable that is no function."""

    def __call__(self, event: object, *args: object) -> str:
        return "called"

    def method(self, event: object, *args: object) -> str:
        return "method"

    async def coroutine(self, event: object, *args: object) -> str:
        return "awaited"


@pytest.mark.contract("2.2")
def test_a_fresh_one_has_nothing() -> None:
    ipc = IpcMain()
    assert ipc.channels() == {}
    assert ipc.listener_count("x") == 0


@pytest.mark.contract("2.2")
def test_channels_tells_listeners_and_handler_of_each_channel() -> None:
    ipc = IpcMain()
    ipc.on("a", print)
    ipc.once("a", print)
    ipc.add_listener("b", print)
    ipc.handle("b", print)
    ipc.handle_once("c", print)
    found = ipc.channels()
    assert isinstance(found, dict)
    assert {name: (info.listeners, info.has_handler) for name, info in found.items()} == {
        "a": (2, False),
        "b": (1, True),
        "c": (0, True),
    }
    assert ipc.listener_count("a") == 2
    ipc.remove_listener("a", print)
    ipc.off("a", print)
    ipc.remove_all_listeners("b")
    ipc.remove_handler("c")
    assert {name: tuple(info) for name, info in ipc.channels().items()} == {"b": (0, True)}


@pytest.mark.contract("2.6")
def test_remove_all_listeners_leaves_handlers() -> None:
    ipc = IpcMain()
    ipc.on("a", print)
    ipc.on("b", print)
    ipc.handle("a", print)
    ipc.remove_all_listeners()
    assert {name: tuple(info) for name, info in ipc.channels().items()} == {"a": (0, True)}


@pytest.mark.contract("2.6")
def test_remove_handler_of_an_unknown_channel_does_nothing() -> None:
    IpcMain().remove_handler("nobody")


@pytest.mark.contract("2.3")
@pytest.mark.parametrize("verb", ["on", "once", "handle", "handle_once"])
def test_without_a_function_the_verb_is_a_decorator_that_returns_the_function(verb: str) -> None:
    ipc = IpcMain()

    def function(event: object) -> None: ...

    assert getattr(ipc, verb)("x")(function) is function
    assert list(ipc.channels()) == ["x"]


@pytest.mark.contract("2.3")
@pytest.mark.parametrize("verb", ["on", "once", "handle", "handle_once"])
def test_with_a_function_the_verb_returns_a_registration(verb: str) -> None:
    ipc = IpcMain()
    first = getattr(ipc, verb)("x", print)
    assert isinstance(first, Registration)
    first.cancel()
    first.cancel()
    assert ipc.channels() == {}
    with getattr(ipc, verb)("x", print):
        assert list(ipc.channels()) == ["x"]
    assert ipc.channels() == {}


@pytest.mark.contract("2.3")
def test_a_registration_takes_out_its_own_and_no_other() -> None:
    ipc = IpcMain()
    first, second = ipc.on("x", print), ipc.on("x", print)
    first.cancel()
    first.cancel()
    assert ipc.listener_count("x") == 1
    second.cancel()
    replaced = ipc.handle("x", print)
    ipc.handle("x", repr, replace=True)
    replaced.cancel()
    assert ipc.channels()["x"].has_handler


@pytest.mark.contract("2.4")
@pytest.mark.parametrize("first", ["handle", "handle_once"])
@pytest.mark.parametrize("second", ["handle", "handle_once"])
def test_a_second_handler_is_an_error(first: str, second: str) -> None:
    ipc = IpcMain()
    getattr(ipc, first)("it's", print)
    with pytest.raises(ValueError) as caught:
        getattr(ipc, second)("it's", print)
    assert str(caught.value) == "Attempted to register a second handler for 'it's'"
    with pytest.raises(ValueError, match="second handler"):
        getattr(ipc, second)("it's")(print)


@pytest.mark.contract("2.4")
@pytest.mark.parametrize("wrong", [3, None, lambda: None])
def test_the_second_handler_is_found_before_anything_is_said_about_the_function(wrong: Any) -> None:
    ipc = IpcMain()
    ipc.handle("x", print)
    with pytest.raises(ValueError, match=r"^Attempted to register a second handler for 'x'$"):
        ipc.handle("x")(wrong)
    if wrong is not None:
        with pytest.raises(ValueError, match=r"^Attempted to register a second handler for 'x'$"):
            ipc.handle("x", wrong)


@pytest.mark.contract("2.4")
async def test_replace_swaps_the_handler(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", lambda event: "old")
        bus.ipc_main.handle("x", lambda event: "new", replace=True)
        assert await renderer.invoke("x") == "new"


@pytest.mark.contract("2.5")
@pytest.mark.parametrize("verb", ["on", "once", "add_listener", "handle", "handle_once"])
@pytest.mark.parametrize(("wrong", "kind"), [(3, "int"), ("f", "str"), ([], "list"), (object(), "object")])
def test_what_cannot_be_called_is_a_type_error(verb: str, wrong: Any, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        getattr(IpcMain(), verb)("x", wrong)
    assert str(caught.value) == f"Expected handler to be a function, but found type '{kind}'"


def keyword_only(*, event: object) -> None: ...


def needs_keyword(event: object, *, flag: bool) -> None: ...


@pytest.mark.contract("2.5")
@pytest.mark.parametrize("verb", ["on", "handle"])
@pytest.mark.parametrize("wrong", [lambda: None, keyword_only, needs_keyword, partial(lambda event: None, 1)])
def test_a_callable_that_cannot_take_the_event_is_a_type_error(verb: str, wrong: Callable[..., object]) -> None:
    ipc = IpcMain()
    with pytest.raises(TypeError):
        getattr(ipc, verb)("x", wrong)
    assert ipc.channels() == {}


@pytest.mark.contract("2.5")
@pytest.mark.parametrize("verb", ["on", "once", "handle", "handle_once"])
@pytest.mark.parametrize("channel", [None, 1, b"x", "", "x" * 256, "ü" * 128, "\ud800", ("x",), []])
def test_what_is_no_channel_is_a_type_error(verb: str, channel: Any) -> None:
    with pytest.raises(TypeError, match="channel"):
        getattr(IpcMain(), verb)(channel, print)
    with pytest.raises(TypeError, match="channel"):
        getattr(IpcMain(), verb)(channel)


@pytest.mark.contract("2.5")
@pytest.mark.parametrize(
    "channel", ["error", "x" * 255, "ü" * 127, "\0", " ", "a\nb", "😀", "__proto__", "ipc-message"]
)
async def test_any_text_is_a_channel(channel: str, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        heard: list[object] = []
        bus.ipc_main.on(channel, lambda event, value: heard.append((event.channel, value)))
        bus.ipc_main.handle(channel, lambda event, value: (event.channel, value))
        renderer.send(channel, 1)
        assert await renderer.invoke(channel, 2) == [channel, 2]
        assert heard == [(channel, 1)]


@pytest.mark.contract("2.7")
@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (Handler(), "called"),
        (Handler().method, "method"),
        (Handler().coroutine, "awaited"),
        (partial(Handler().coroutine), "awaited"),
        (lambda event, *args: Handler().coroutine(event), "awaited"),
    ],
)
async def test_any_kind_of_callable_handles(handler: Callable[..., object], result: str, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", handler)
        assert await renderer.invoke("x") == result


# 3.13: whose thread it is.


CHANGES: dict[str, Callable[[IpcMain], object]] = {
    "on": lambda ipc: ipc.on("x", ignore),
    "once": lambda ipc: ipc.once("x", ignore),
    "add_listener": lambda ipc: ipc.add_listener("x", ignore),
    "a decorator": lambda ipc: ipc.on("x")(ignore),
    "off": lambda ipc: ipc.off("x", ignore),
    "remove_listener": lambda ipc: ipc.remove_listener("x", ignore),
    "remove_all_listeners": lambda ipc: ipc.remove_all_listeners(),
    "handle": lambda ipc: ipc.handle("y", ignore),
    "handle_once": lambda ipc: ipc.handle_once("y", ignore),
    "remove_handler": lambda ipc: ipc.remove_handler("x"),
}


def ignore(event: object) -> None:
    """Do nothing."""


def set_up(ipc: IpcMain) -> Registration:
    ipc.on("x", ignore)
    ipc.handle("x", ignore)
    return ipc.on("x", ignore)


async def refused(change: Callable[[], object]) -> None:
    """Make a change in another thread, and see it refused."""
    with pytest.raises(RuntimeError, match="call_soon_threadsafe"):
        await asyncio.to_thread(change)


@pytest.mark.contract("3.13")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_that_of_a_broker_which_runs_is_changed_in_its_thread_only(
    change: Callable[[IpcMain], object], address: str
) -> None:
    async with Bus(address) as bus:
        contents = bus.contents(await bus.renderer())
        for ipc in (bus.ipc_main, contents.ipc, contents.main_frame.ipc):
            registration = set_up(ipc)
            before = ipc.channels()
            await refused(partial(change, ipc))
            await refused(registration.cancel)
            assert ipc.channels() == before
            registration.cancel()
            assert ipc.listener_count("x") == 1
            change(ipc)


@pytest.mark.contract("3.13")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_before_its_broker_starts_and_after_it_any_thread_may_change_it(
    change: Callable[[IpcMain], object], address: str
) -> None:
    ipc = IpcMain()
    registration = await asyncio.to_thread(set_up, ipc)
    async with Broker(address, ipc_main=ipc):
        await refused(registration.cancel)
    await asyncio.to_thread(registration.cancel)
    await asyncio.to_thread(change, ipc)
