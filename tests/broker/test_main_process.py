"""Messages reach the listeners and handlers of the main process: who gets them, in which order, and what goes wrong."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from mainbus import CloneError, NoHandlerError, ValidationError
from mainbus.wire.packets import MAIN, Kind, build
from mainbus_broker import Config, IpcMainEvent, IpcMainInvokeEvent, Limits

from tests.support.bus import Bus, Calls, until, within

Heard = list[object]


def note(heard: Heard, what: object) -> Callable[..., None]:
    return lambda event, *args: heard.append(what)


# 2.6: emitters are Node's.


@pytest.mark.contract("2.6")
async def test_listeners_are_called_in_the_order_of_registration_and_twice_if_registered_twice(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()
        first, second = note(heard, 1), note(heard, 2)
        for listener in (first, second, first):
            bus.ipc_main.on("x", listener)
        renderer.send("x")
        await bus.served(renderer)
        assert heard == [1, 2, 1]
        bus.ipc_main.off("x", first)
        renderer.send("x")
        await bus.served(renderer)
        assert heard == [1, 2, 1, 1, 2]


@pytest.mark.contract("2.6")
async def test_a_message_reaches_those_that_listened_when_it_came(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()
        late, gone = note(heard, "late"), note(heard, "gone")

        def change(event: object) -> None:
            bus.ipc_main.on("x", late)
            bus.ipc_main.off("x", gone)

        bus.ipc_main.once("x", change)
        bus.ipc_main.on("x", gone)
        renderer.send("x")
        await bus.served(renderer)
        assert heard == ["gone"]
        renderer.send("x")
        await bus.served(renderer)
        assert heard == ["gone", "late"]


@pytest.mark.contract("2.6")
async def test_once_removes_itself_before_it_is_called(address: str) -> None:
    async with Bus(address) as bus:
        renderer, counts = await bus.renderer(), Heard()
        bus.ipc_main.once("x", lambda event: counts.append(bus.ipc_main.listener_count("x")))
        renderer.send("x")
        renderer.send("x")
        await bus.served(renderer)
        assert counts == [0]


@pytest.mark.contract("2.6")
async def test_handle_once_removes_itself_before_it_is_called(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle_once("x", lambda event: "x" in bus.ipc_main.channels())
        first, second = renderer.invoke("x"), renderer.invoke("x")
        assert await first is False
        with pytest.raises(NoHandlerError):
            await second


@pytest.mark.contract("2.6")
async def test_handle_once_may_handle_its_channel_again(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()

        def handler(event: object) -> str:
            bus.ipc_main.handle("x", lambda event: "again")
            return "once"

        bus.ipc_main.handle_once("x", handler)
        replies = [renderer.invoke("x"), renderer.invoke("x")]
        assert [await reply for reply in replies] == ["once", "again"]


@pytest.mark.contract("2.6")
async def test_a_once_coroutine_gets_one_message_of_two_senders(address: str) -> None:
    async with Bus(address) as bus:
        one, two, heard = await bus.renderer(), await bus.renderer(), Heard()

        async def listener(event: Any) -> None:
            heard.append(event.sender.id)

        bus.ipc_main.once("x", listener)
        one.send("x")
        two.send("x")
        await bus.served(one)
        await bus.served(two)
        assert len(heard) == 1


# 2.8: one listener's error is not another one's.


def raises_value_error(event: object) -> None:
    raise ValueError("broken")


async def raises_later(event: object) -> None:
    await asyncio.sleep(0)
    raise ValueError("broken")


async def raises_at_once(event: object) -> None:
    raise ValueError("broken")


@pytest.mark.contract("2.8", "2.1")
@pytest.mark.parametrize("broken", [raises_value_error, raises_at_once, raises_later])
async def test_a_listener_that_raises_is_logged_and_reported_and_the_others_run(
    broken: Callable[..., object], address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer("editor"), Heard()
        bus.ipc_main.on("x", note(heard, "before"))
        bus.ipc_main.on("x", broken)
        bus.ipc_main.on("x", note(heard, "after"))
        renderer.send("x")
        await until(lambda: bus.errors)
        assert heard == ["before", "after"]
        [(error, channel, contents)] = bus.errors
        assert (repr(error), channel, contents) == ("ValueError('broken')", "x", bus.contents(renderer))
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert "'x'" in record.getMessage()
        assert bus.contents(renderer).label in record.getMessage()
        assert "(editor)" in record.getMessage()
        assert record.exc_info is not None
        assert record.exc_info[1] is error


@pytest.mark.contract("2.8")
async def test_a_listener_that_takes_a_cancellation_out_of_a_future_ends_nothing_but_itself(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        bus.ipc_main.on("x", lambda event: future.result())
        bus.ipc_main.on("x", note(heard, "after"))
        renderer.send("x")
        await bus.served(renderer)
        assert heard == ["after"]
        assert [type(error) for error, _, _ in bus.errors] == [asyncio.CancelledError]
        assert renderer.is_connected


@pytest.mark.contract("2.8")
async def test_a_listener_of_listener_error_that_raises_harms_nobody(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()

        def worse(*told: object) -> None:
            raise RuntimeError("worse")

        bus.broker.on("listener-error", worse)
        bus.ipc_main.on("x", raises_value_error)
        bus.ipc_main.on("x", note(heard, "after"))
        renderer.send("x")
        await bus.served(renderer)
        assert heard == ["after"]


@pytest.mark.contract("2.8")
async def test_a_listener_of_the_contents_event_that_raises_keeps_the_message_from_nobody(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()

        def broken(event: object, channel: str) -> None:
            raise ValueError("broken")

        bus.contents(renderer).on("ipc-message", broken)
        bus.ipc_main.on("x", note(heard, "main"))
        renderer.send("x")
        await bus.served(renderer)
        assert heard == ["main"]
        assert [str(error) for error, _, _ in bus.errors] == ["broken"]
        assert [(channel, contents) for _, channel, contents in bus.errors] == [("x", bus.contents(renderer))]
        [record] = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert "'x'" in record.getMessage()
        assert bus.contents(renderer).label in record.getMessage()


# 2.9: arguments that do not fit.


def two(event: object, first: int, second: int = 0) -> int:
    return first + second


@pytest.mark.contract("2.9")
@pytest.mark.parametrize("count", [0, 3])
async def test_arguments_that_do_not_fit_are_a_validation_error_for_the_caller(count: int, address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", two)
        assert await renderer.invoke("x", 1) == 1
        assert await renderer.invoke("x", 1, 2) == 3
        with pytest.raises(ValidationError, match=r"two\(\)"):
            await renderer.invoke("x", *range(count))


@pytest.mark.contract("2.9")
async def test_a_type_error_inside_the_handler_is_no_validation_error(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("x", lambda event: two(event))  # type: ignore[call-arg]
        with pytest.raises(TypeError) as caught:
            await renderer.invoke("x")
        assert not isinstance(caught.value, ValidationError)


@pytest.mark.contract("2.9")
@pytest.mark.parametrize("count", [0, 3])
async def test_arguments_that_do_not_fit_a_listener_are_a_listener_error(count: int, address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()
        bus.ipc_main.on("x", two)
        bus.ipc_main.on("x", note(heard, "after"))
        renderer.send("x", *range(count))
        await bus.served(renderer)
        [(error, channel, contents)] = bus.errors
        assert isinstance(error, ValidationError)
        assert (channel, contents) == ("x", bus.contents(renderer))
        assert heard == ["after"]


# 8.5: annotated parameters.


@dataclass
class Doc:
    title: str
    pages: list[int]


@pytest.mark.contract("8.5")
@pytest.mark.parametrize("options", [{}, {"thread": True}], ids=["loop", "thread"])
async def test_a_wrong_argument_is_a_validation_error_and_the_handler_does_not_run(
    options: dict[str, bool], address: str
) -> None:
    saved: list[Doc] = []

    def save(event: IpcMainInvokeEvent, doc: Doc) -> int:
        saved.append(doc)
        return len(doc.pages)

    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.handle("save", save, **options)
        assert await renderer.invoke("save", Doc("a", [1, 2])) == 2
        text = r"remote method 'save': .*save\(\) \(test_main_process.py:\d+\): doc.pages\[1\]: Expected `int`"
        with pytest.raises(ValidationError, match=text):
            await renderer.invoke("save", {"title": "a", "pages": [1, "2"]})
        assert saved == [Doc("a", [1, 2])]


@pytest.mark.contract("8.5")
async def test_a_wrong_argument_for_a_listener_is_a_listener_error(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()

        def set_title(event: IpcMainEvent, title: str) -> None:
            heard.append(title)

        async def later(event: IpcMainEvent, *parts: int) -> None:
            heard.append(parts)

        bus.ipc_main.on("title", set_title)
        bus.ipc_main.on("title", later)
        bus.ipc_main.on("title", note(heard, "after"))
        renderer.send("title", 1)
        renderer.send("title", "a")
        await bus.served(renderer)
        assert [(type(error), error.parameter, channel) for error, channel, _ in bus.errors] == [  # type: ignore[attr-defined]
            (ValidationError, "title", "title"),
            (ValidationError, "parts", "title"),
        ]
        assert heard == [(1,), "after", "a", "after"]


@pytest.mark.contract("8.5")
async def test_a_renderer_checks_what_another_one_sends(address: str) -> None:
    async with Bus(address) as bus:
        one, other = await bus.renderer("one"), await bus.renderer("other")

        async def double(event: object, number: int) -> int:
            return 2 * number

        other.handle("double", double, senders="any")
        other.handle("unchecked", double, senders="any", validate=False)
        assert await one.invoke_to("other", "double", 2) == 4
        with pytest.raises(ValidationError, match=r": number: Expected `int`, got `str`"):
            await one.invoke_to("other", "double", "a")
        assert await one.invoke_to("other", "unchecked", "a") == "aa"


# 2.16 to 2.18: who gets what.


@pytest.mark.contract("2.16")
@pytest.mark.parametrize("verb", ["send", "post_message"])
async def test_one_way_messages_reach_every_level_in_order(verb: str, address: str) -> None:
    async with Bus(address) as bus:
        renderer, other, heard = await bus.renderer(), await bus.renderer(), Heard()
        contents = bus.contents(renderer)
        bus.ipc_main.on("x", lambda event, value: heard.append(("main", value)))
        contents.ipc.on("x", lambda event, value: heard.append(("contents", value)))
        contents.main_frame.ipc.on("x", lambda event, value: heard.append(("frame", value)))
        contents.on("ipc-message", lambda event, channel, value: heard.append(("event", channel, value)))
        contents.on("ipc-message-sync", lambda *args: heard.append("never"))
        getattr(renderer, verb)("x", 7)
        getattr(renderer, verb)("nobody listens there", 8)
        await bus.served(renderer)
        expected = [("event", "x", 7), ("frame", 7), ("contents", 7), ("main", 7), ("event", "nobody listens there", 8)]
        assert heard == expected
        getattr(other, verb)("x", 9)
        await bus.served(other)
        assert heard[len(expected) :] == [("main", 9)]


@pytest.mark.contract("2.16", "2.6")
async def test_each_level_has_its_own_snapshot(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()
        contents, gone = bus.contents(renderer), note(heard, "gone")
        bus.ipc_main.on("x", gone)

        def change(event: object, channel: str) -> None:
            bus.ipc_main.off("x", gone)
            bus.ipc_main.on("x", note(heard, "late"))

        contents.once("ipc-message", change)
        renderer.send("x")
        await bus.served(renderer)
        assert heard == ["late"]


@pytest.mark.contract("2.17")
async def test_an_invoke_reaches_the_first_level_that_has_a_handler(address: str) -> None:
    async with Bus(address) as bus:
        renderer, other, heard = await bus.renderer(), await bus.renderer(), Heard()
        contents = bus.contents(renderer)
        contents.on("ipc-message", lambda *args: heard.append("never"))
        bus.ipc_main.on("x", note(heard, "never"))
        levels = {"main": bus.ipc_main, "contents": contents.ipc, "frame": contents.main_frame.ipc}
        for name, ipc in levels.items():
            ipc.handle("x", lambda event, name=name: name)
            assert await renderer.invoke("x") == name
            assert await other.invoke("x") == "main"
        for name in ("contents", "main"):
            levels["frame" if name == "contents" else "contents"].remove_handler("x")
            assert await renderer.invoke("x") == name
        assert heard == []


@pytest.mark.contract("5.2")
async def test_no_handler_is_named_in_electrons_words(address: str) -> None:
    async with Bus(address) as bus:
        renderer = await bus.renderer()
        bus.ipc_main.on("it's", print)
        with pytest.raises(NoHandlerError) as caught:
            await renderer.invoke("it's")
        assert str(caught.value) == "Error invoking remote method 'it's': Error: No handler registered for 'it's'"
        assert caught.value.channel == "it's"


# Faults of the sender.


@pytest.mark.contract("8.7")
@pytest.mark.parametrize("body", [b"", b"\xff", b"\x01", b"\x80\x00", b"\x81"])
@pytest.mark.parametrize("kind", [Kind.SEND, Kind.POST, Kind.INVOKE])
async def test_a_body_that_is_no_list_closes_its_sender_only(kind: Kind, body: bytes, address: str) -> None:
    async with Bus(address) as bus:
        renderer, other, told = await bus.renderer(reconnect=False), await bus.renderer(), Calls()
        bus.ipc_main.on("x", print)
        bus.ipc_main.handle("x", print)
        bus.broker.on("message-error", told)
        contents, gone = bus.contents(renderer), Calls()
        contents.on("destroyed", gone)
        assert renderer._session is not None
        renderer._session.outbox.put(build(kind, MAIN, 999, body, channel=b"x"))
        await gone.wait()
        assert told.calls == [(contents, "x")]
        assert bus.broker.stats()["bad_messages"] == 1
        assert bus.errors == []
        await bus.served(other)


@pytest.mark.contract("8.7")
async def test_bad_messages_are_counted_up_to_the_limit(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(max_bad_messages=2))) as bus:
        renderer = await bus.renderer(reconnect=False)
        assert renderer._session is not None
        renderer._session.outbox.put(build(Kind.SEND, MAIN, 0, b"\xff", channel=b"x"))
        await bus.served(renderer)
        assert not bus.contents(renderer).is_destroyed()
        gone = Calls()
        bus.contents(renderer).on("destroyed", gone)
        renderer._session.outbox.put(build(Kind.SEND, MAIN, 0, b"\xff", channel=b"x"))
        await gone.wait()


async def test_a_request_number_that_is_in_use_closes_its_sender(address: str) -> None:
    async with Bus(address) as bus:
        renderer, gone = await bus.renderer(reconnect=False), Calls()

        async def forever(event: object) -> None:
            await asyncio.Event().wait()

        bus.ipc_main.handle("x", forever)
        bus.contents(renderer).on("destroyed", gone)
        assert renderer._session is not None
        for _ in range(2):
            renderer._session.outbox.put(build(Kind.INVOKE, MAIN, 7, b"\x80", channel=b"x"))
        await gone.wait()
        await until(lambda: not bus.hub.main.dispatch.tasks)


@pytest.mark.contract("9.3")
async def test_more_handlers_than_were_granted_are_refused(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(running=1))) as bus:
        renderer, release = await bus.renderer(), asyncio.Event()

        async def wait(event: object) -> str:
            await release.wait()
            return "done"

        bus.ipc_main.handle("x", wait)
        first = renderer.invoke("x")
        await until(lambda: bus.hub.main.dispatch.tasks)
        refused = Calls()
        assert renderer._session is not None
        # Past the client, which would hold it back.
        reply = renderer._session.calls.open("x", 999, renderer._session.main, None)
        renderer._session.main.charge(1)
        renderer._session.outbox.put(build(Kind.INVOKE, MAIN, 999, b"\x80", channel=b"x"))
        with pytest.raises(Exception, match="1") as caught:
            await within(reply)
        assert type(caught.value).__name__ == "TooManyRequests"
        release.set()
        assert await first == "done"
        assert refused.calls == []


async def test_nothing_is_sent_when_an_argument_cannot_be_cloned(address: str) -> None:
    async with Bus(address) as bus:
        renderer, heard = await bus.renderer(), Heard()
        bus.ipc_main.on("x", note(heard, "x"))
        with pytest.raises(CloneError):
            renderer.send("x", print)
        await bus.served(renderer)
        assert heard == []
