"""What a role does not grant goes nowhere: who is told, how often, and what of it goes on."""

import asyncio
from typing import Any

import cbor2
import mainbus
import pytest
from mainbus import MessageChannel, NoHandlerError, PermissionDenied
from mainbus.wire.states import CHANNELED
from mainbus_broker import Broker, Config, Match, Role
from mainbus_broker.gate import TOLD, VERBS

from tests.support import bare
from tests.support import raw as wire
from tests.support.bus import USER, Bus, Calls, program, until, within
from tests.support.raw import Packet, Raw, args, raw

pytestmark = pytest.mark.contract("8.4")

LARGE = "x" * 300_000


def bus_with(address: str, **granted: Any) -> Bus:
    """Return a bus on which the token "t" brings a role."""
    return Bus(address, config=Config(roles={"plugin": Role(match=Match(token="t"), **granted)}))


class Told(list[tuple[object, ...]]):
    """What "undeliverable" has told a renderer."""

    def __init__(self, renderer: mainbus.IpcRenderer) -> None:
        super().__init__()
        renderer.events.on("undeliverable", lambda *told: self.append(told))


def test_every_kind_that_names_a_channel_has_its_verbs() -> None:
    assert set(VERBS) == {int(kind) for kind in CHANNELED}


# To the main process


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
async def test_invoke(value: str, address: str) -> None:
    async with bus_with(address, invoke=["dialog:*", "bus:*"], deny={"invoke": ["dialog:delete"]}) as bus:
        plugin, free = await bus.renderer(token="t"), await bus.renderer("free")
        for channel in ("dialog:open", "dialog:delete", "editor:open"):
            bus.ipc_main.handle(channel, lambda event, value: len(value))
        assert await plugin.invoke("dialog:open", value) == len(value)
        for channel in ("dialog:delete", "editor:open"):
            with pytest.raises(PermissionDenied, match=rf"^Permission denied: invoke on '{channel}'$") as caught:
                await plugin.invoke(channel, value)
            assert isinstance(caught.value, PermissionError)
            assert await free.invoke(channel, value) == len(value)
        assert await plugin.invoke("dialog:open", value) == len(value)
        with pytest.raises(PermissionDenied):
            async for _ in plugin.stream("editor:open", value):
                pass
        assert bus.contents(plugin).role == "plugin"
        assert bus.broker.stats()["denied"] == 3


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
async def test_messages(value: str, address: str) -> None:
    async with bus_with(address, send=["log"], invoke=["bus:*"]) as bus:
        plugin, heard = await bus.renderer(token="t"), Calls()
        told = Told(plugin)
        bus.ipc_main.on("log", heard)
        bus.ipc_main.on("title", heard)
        for channel in ("title", "log"):
            plugin.send(channel, value)
            plugin.post_message(channel, value)
        await bus.served(plugin)
        assert heard.args == [(value,), (value,)]
        assert told == [(0, "title", "Permission denied: send on 'title'")] * 2
        assert bus.errors == []


async def test_send_sync(address: str) -> None:
    async with bus_with(address, send=["ask"], invoke=["bus:*"]) as bus:

        def answer(event: Any, *args: object) -> None:
            event.return_value = "answer"

        bus.ipc_main.on("ask", answer)
        bus.ipc_main.on("other", answer)

        def ask(renderer: mainbus.IpcRenderer) -> object:
            for value in ("small", LARGE):
                with pytest.raises(PermissionDenied, match=r"^Permission denied: send on 'other'$"):
                    renderer.send_sync("other", value)
            return renderer.send_sync("ask")

        async def main() -> object:
            async with mainbus.connect(address, token="t") as renderer:
                return ask(renderer)

        assert await within(asyncio.to_thread(asyncio.run, main())) == "answer"


async def test_what_is_refused_is_not_decoded(address: str) -> None:
    async with bus_with(address, send=["log"]) as bus, raw(address, hello=False) as plugin:
        await plugin.hello(token="t")
        plugin.write(Packet(wire.SEND, channel=b"title", body=b"\xff"))
        plugin.write(Packet(wire.INVOKE, request=1, channel=b"title", body=b"\xff"))
        undeliverable = await plugin.next(wire.UNDELIVERABLE)
        assert (undeliverable.peer, undeliverable.body) == (0, b"Permission denied: send on 'title'")
        error = await plugin.next(wire.ERROR)
        assert (error.request, error.value, error.said) == (1, 9, "Permission denied: invoke on 'title'")
        assert bus.broker.stats()["bad_messages"] == 0


async def test_ports_of_a_refused_message_are_closed(address: str) -> None:
    async with bus_with(address, invoke=["bus:*"]) as bus:
        plugin, closed = await bus.renderer(token="t"), Calls()
        channel = MessageChannel()
        channel.port1.on("close", closed)
        channel.port1.start()
        plugin.post_message("x", None, [channel.port2])
        await closed.wait()
        await bus.served(plugin)


# To other renderers


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
@pytest.mark.parametrize("by_name", [True, False], ids=["name", "id"])
async def test_whatever_goes_to_another_renderer_is_send_to(by_name: bool, value: str, address: str) -> None:
    async with bus_with(address, send=["*"], invoke=["*"], send_to=["chat"]) as bus:
        plugin, other, heard = await bus.renderer(token="t"), await bus.renderer("other"), Calls()
        told, target = Told(plugin), "other" if by_name else other.id
        for channel in ("chat", "rm"):
            other.on(channel, heard, senders="any")
            other.handle(channel, lambda event, value: len(value), senders="any")
        for channel in ("rm", "chat"):
            plugin.send_to(target, channel, value)
        assert await plugin.invoke_to(target, "chat", value) == len(value)
        with pytest.raises(PermissionDenied, match=r"^Permission denied: send_to on 'rm'$"):
            await plugin.invoke_to(target, "rm", value)
        with pytest.raises(PermissionDenied):
            async for _ in plugin.stream_to(target, "rm", value):
                pass
        with pytest.raises(PermissionDenied):
            await plugin.invoke_to("nobody", "rm", value)
        assert heard.args == [(value,)]
        assert told == [(target, "rm", "Permission denied: send_to on 'rm'")]


@pytest.mark.parametrize("value", ["small", LARGE], ids=["small", "large"])
async def test_a_renderer_gets_what_it_may_listen_to_and_handle(value: str, address: str) -> None:
    async with bus_with(address, listen=["chat"], handle=["work", "bus:*"], names=["p"]) as bus:
        plugin, free, heard = await bus.renderer("p", token="t"), await bus.renderer("free"), Calls()
        told = Told(free)
        for channel in ("chat", "work", "rm"):
            plugin.on(channel, heard, senders="any")
            plugin.handle(channel, lambda event, value: len(value), senders="any")
        for channel in ("rm", "work", "chat"):
            free.send_to("p", channel, value)
        assert await free.invoke_to("p", "work", value) == len(value)
        for channel in ("rm", "chat"):
            with pytest.raises(PermissionDenied, match=rf"^Permission denied: handle on '{channel}'$"):
                await free.invoke_to("p", channel, value)
        assert told == [("p", channel, f"Permission denied: listen on '{channel}'") for channel in ("rm", "work")]
        free.broadcast("rm", value)
        free.broadcast("chat", value)
        await heard.wait(2)
        assert heard.args == [(value,), (value,)]


async def test_broadcast(address: str) -> None:
    async with bus_with(address, broadcast=["news"], invoke=["bus:*"]) as bus:
        plugin, other, heard = await bus.renderer(token="t"), await bus.renderer(), Calls()
        told = Told(plugin)
        other.on("news", heard, senders="any")
        other.on("rm", heard, senders="any")
        for value in ("small", LARGE):
            plugin.broadcast("rm", value)
            plugin.broadcast("news", value)
        await heard.wait(2)
        assert heard.args == [("small",), (LARGE,)]
        assert [channel for _, channel, _ in told] == ["rm", "rm"]


@pytest.mark.contract("3.8")
async def test_who_may_send_to_nobody_sees_nobody(address: str) -> None:
    async with bus_with(address, invoke=["bus:*"]) as bus:
        plugin, other = await bus.renderer(token="t"), await bus.renderer("other")
        seen: list[object] = []
        plugin.events.on("peer-joined", seen.append)
        plugin.events.on("peer-left", seen.append)
        await bus.served(plugin)
        gone = await bus.renderer("gone")
        await gone.aclose()
        bus._renderers.remove(gone)
        assert await plugin.peers() == []
        assert [peer.id for peer in await other.peers()] == [plugin.id]
        await bus.served(plugin)
        assert seen == []


async def test_who_may_watch_nothing_gets_no_status(address: str) -> None:
    roles = {"plugin": Role(match=Match(token="t")), "tool": Role(match=Match(token="u"), monitor=["*"])}
    async with Bus(address, config=Config(roles=roles)) as bus:
        plugin, tool = await bus.renderer(token="t"), await bus.renderer(token="u")
        with pytest.raises(PermissionDenied, match=r"^Permission denied: monitor on 'status'$"):
            await plugin.status()
        assert [found["role"] for found in (await tool.status())["renderers"]] == ["plugin", "tool"]


# From the main process


async def test_the_main_process_is_told_at_once(address: str) -> None:
    async with bus_with(address, listen=["chat"], handle=["work", "bus:*"]) as bus:
        plugin, heard = await bus.renderer(token="t"), Calls()
        contents = bus.contents(plugin)
        plugin.on("chat", heard)
        plugin.on("rm", heard)
        plugin.handle("work", lambda event: "done")
        contents.send("chat", 1)
        for send in (contents.send, contents.main_frame.send, contents.post_message):
            with pytest.raises(PermissionDenied, match=r"^Permission denied: listen on 'rm'$"):
                send("rm", 1)
        with pytest.raises(PermissionDenied, match=r"^Permission denied: listen on 'rm'$"):
            contents.post_message("rm", None, [MessageChannel().port1])
        assert await contents.invoke("work") == "done"
        for call in (contents.invoke, contents.stream):
            with pytest.raises(PermissionDenied, match=r"^Permission denied: handle on 'rm'$"):
                call("rm")
        bus.broker.web_contents.broadcast("rm", 2)
        bus.broker.web_contents.broadcast("chat", 3)
        await bus.reached(plugin)
        assert heard.args == [(1,), (3,)]


# Who has which role


async def test_a_name_that_the_role_does_not_grant_is_refused(address: str) -> None:
    async with bus_with(address, names=["p-*"], handle=["bus:*"]) as bus:
        with pytest.raises(PermissionDenied, match="role 'plugin' does not grant the name 'editor'"):
            async with mainbus.connect(address, name="editor", token="t"):
                pass
        assert (await bus.renderer("p-1", token="t")).name == "p-1"
        assert (await bus.renderer("editor")).name == "editor"


async def test_roles_by_address(address: str) -> None:
    plugins, others = f"{address}-plugins", f"{address}-app"
    roles = {"plugin": Role(match=Match(address=plugins), invoke=["a"])}
    async with (
        Broker(others, plugins, config=Config(roles=roles)) as broker,
        mainbus.connect(plugins) as plugin,
        mainbus.connect(others) as other,
    ):
        with pytest.raises(PermissionDenied):
            await plugin.invoke("b")
        for renderer, channel in ((plugin, "a"), (other, "b")):
            with pytest.raises(NoHandlerError):
                await renderer.invoke(channel)
        assert [contents.role for contents in broker.web_contents.get_all_web_contents()] == ["plugin", None]


async def test_a_token_that_no_role_has_is_refused(address: str) -> None:
    async with bus_with(address):
        with pytest.raises(mainbus.ConnectRefused, match="the token is unknown or was used before"):
            async with mainbus.connect(address, token="T"):
                pass


@pytest.mark.parametrize("known", [True, False], ids=["same broker", "another broker"])
async def test_a_reconnect_has_the_role_again(known: bool, address: str) -> None:
    async with bus_with(address, invoke=["bus:*"], handle=["bus:*"], names=["p"]) as bus:
        plugin = await bus.renderer("p", token="t")
        back = asyncio.Event()
        plugin.events.on("reconnected", back.set)
        if not known:
            bus.hub.instance = b"another one than it knows"
        bus.peer(plugin).transport.abort()
        await within(back.wait())
        assert bus.contents(plugin).role == "plugin"
        with pytest.raises(PermissionDenied):
            await plugin.invoke("x")


@pytest.mark.parametrize("lost", [True, False], ids=["lost", "still there"])
async def test_a_reconnect_keeps_a_role_that_came_with_a_token_for_once(lost: bool, address: str) -> None:
    async with bus_with(address) as bus:
        async with raw(address, token=bus.hub.tokens.issue("p", "plugin")) as plugin:
            if lost:
                await plugin.close()
                await until(lambda: plugin.id not in bus.hub.renderers.ids)
            session = {"session": plugin.welcome["session"], "instance": plugin.welcome["instance"]}
            async with raw(address, "p", **session) as again:
                assert bus.hub.renderers.ids[again.id].role == "plugin"
                again.write(Packet(wire.SEND, channel=b"x", body=args()))
                await again.next(wire.UNDELIVERABLE)
        assert bus.broker.stats()["denied"] == 1


async def test_what_a_lane_repeats_is_checked(address: str) -> None:
    async with bus_with(address) as bus, raw(address, token="t") as plugin:
        heard = Calls()
        bus.ipc_main.on("x", heard)
        lane = Raw(*await bare.connect(address))
        said = {"id": plugin.id, "nonce": plugin.welcome["lane"]}
        lane.write(Packet(wire.LANE, body=cbor2.dumps(said)), Packet(wire.REPEAT, value=2, request=1))
        lane.write(Packet(wire.SEND, channel=b"x", body=args()))
        await plugin.next(wire.UNDELIVERABLE)
        assert (heard.calls, bus.broker.stats()["denied"]) == ([], 1)
        await lane.close()


async def test_a_guest_has_the_role_of_its_host(address: str) -> None:
    async with bus_with(address, invoke=["bus:*"], handle=["bus:*"]) as bus:
        host = await bus.renderer(token="t")
        guest = await host.create_guest()
        inner = await bus.renderer(token=guest.token)
        assert bus.contents(inner).role == "plugin"
        with pytest.raises(PermissionDenied):
            await inner.invoke("x")


async def test_spawn_gives_a_role_and_knows_which_there_are(address: str) -> None:
    source = "asyncio.run(mainbus.connect().__aenter__())"
    roles = {"started": Role(invoke=["a"])}
    async with Broker(address, config=Config(roles=roles)) as broker:
        with pytest.raises(ValueError, match="The config has no role 'other'"):
            await broker.spawn(program(source), role="other")
        process, contents = await broker.spawn(program(source), name="given", role="started")
        await process.wait()
        assert (contents.name, contents.role) == ("given", "started")


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process is another user's, as for the broker; only root could start one here."""
    for module in ("entrance", "hub"):
        monkeypatch.setattr(f"mainbus_broker.{module}.same_user", lambda process: False)


@pytest.mark.usefixtures("strangers")
async def test_another_user_is_let_in_by_a_role_that_names_it_and_only_with_that_role(address: str) -> None:
    uid = USER
    another = f"{uid}1" if isinstance(uid, str) else uid + 1
    with_token = Config(roles={"plugin": Role(match=Match(uid=uid, token="t"), handle=["bus:*"])})
    async with Bus(address, config=with_token) as bus:
        plugin = await bus.renderer(token="t")
        assert bus.contents(plugin).role == "plugin"
        with pytest.raises(mainbus.ConnectRefused, match="serves its own user only"):
            async with mainbus.connect(address):
                pass
    everybody = Config(roles={"plugin": Role(match=Match()), "other": Role(match=Match(uid=another))})
    async with Bus(address, config=everybody):
        with pytest.raises(mainbus.ConnectRefused, match="serves its own user only"):
            async with mainbus.connect(address):
                pass


# What is logged, and what it costs


async def test_each_verb_and_channel_is_logged_once_and_not_for_ever(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with bus_with(address, invoke=["bus:*"], handle=["bus:*"]) as bus:
        plugin = await bus.renderer(token="t")
        for _ in range(3):
            plugin.send("a")
            plugin.broadcast("a")
        await bus.served(plugin)
        said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("denied")]
        label = bus.contents(plugin).label
        assert said == [f"denied {label} (role plugin): {verb} on 'a'" for verb in ("send", "broadcast")]
        for number in range(2 * TOLD):
            plugin.send(f"channel {number}")
        await bus.served(plugin)
        said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("denied")]
        assert len(said) == TOLD + 1
        assert said[-1].endswith("verbs and channels so far, more are counted")
        assert bus.broker.stats()["denied"] == 6 + 2 * TOLD
        assert "'t'" not in caplog.text


async def test_without_a_role_nothing_stands_before_the_router(address: str) -> None:
    async with bus_with(address, send=["*"]) as bus:
        free = bus.peer(await bus.renderer())
        assert (free.policy, free.serve) == (None, bus.hub.router.serve)
        plugin = await bus.renderer(token="t")
        assert bus.hub.renderers.restricted == {bus.peer(plugin)}
        bus.peer(plugin).close("tested")
        assert bus.hub.renderers.restricted == set()


async def test_large_refused_messages_are_bounded_as_others(address: str) -> None:
    async with bus_with(address) as bus, raw(address, hello=False) as plugin:
        await plugin.hello(token="t")
        plugin.write(Packet(wire.SEND, flags=wire.MORE, channel=b"x", body=cbor2.dumps([b"x" * 1000])))
        plugin.write(Packet(wire.SEND, flags=wire.MORE, channel=b"y", body=b"x"))
        told = await plugin.rest()
        assert told[-1].kind == wire.GOODBYE
        assert "inside another message" in told[-1].body.decode()
        assert len(bus.hub.renderers) == 0
