"""Payloads of every size around the bounds of a packet, unchanged through every verb, and others passing large ones."""

import array
import asyncio
from collections.abc import Callable
from typing import Any

import mainbus
import pytest
from mainbus import IpcRenderer, Reply
from mainbus_broker import Config, Limits

from tests.support.bus import Bus, Calls, in_thread, until, within

KIB, MIB = 1024, 1024 * 1024
# Around one fragment's length (132 KiB) too, where the packet's own few bytes decide.
SIZES = [0, 1, 65_535, 65_536, 65_537, 132 * KIB - 8, 132 * KIB, 256 * KIB + 3, 3 * MIB + 1]


def text(size: int) -> object:
    return ("aé€" * (size // 6 + 1)).encode()[:size].decode(errors="ignore")


def binary(size: int) -> object:
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def nested(size: int) -> object:
    part = min(size, 4096)
    items = [{"n": index, "text": "x" * part, "more": [b"y" * part]} for index in range(size // (2 * part or 1))]
    return {"items": items, "empty": [{}, [], None, True, -1.5], "size": size}


PAYLOADS = [pytest.param(make, id=make.__name__) for make in (text, binary, nested)]


class Everybody:
    """Main and two renderers that answer, echo and keep whatever they get, on every verb."""

    def __init__(self, bus: Bus, left: IpcRenderer, right: IpcRenderer) -> None:
        self.bus, self.left, self.right = bus, left, right
        self.main_got, self.left_got, self.right_got = Calls(), Calls(), Calls()
        bus.ipc_main.on("item", self.main_got)
        bus.ipc_main.on("reply", lambda event, value: event.reply("item", value))
        bus.ipc_main.on("sync", self._sync)
        bus.ipc_main.handle("echo", lambda event, value: value)
        for renderer, got in ((left, self.left_got), (right, self.right_got)):
            renderer.on("item", got, senders="any")
            renderer.on("reply", lambda event, value: event.reply("item", value), senders="any")
            renderer.handle("echo", lambda event, value: value, senders="any")

    def _sync(self, event: Any, value: object) -> None:
        event.return_value = value

    async def all_verbs(self, value: object) -> None:
        """Let `value` travel with every verb and compare it where it arrives."""
        left, right, contents = self.left, self.right, self.bus.contents(self.left)
        await self._arrives(lambda: left.send("item", value), self.main_got, value)
        await self._arrives(lambda: left.post_message("item", value), self.main_got, value)
        await self._arrives(lambda: left.send("reply", value), self.left_got, value)
        await self._arrives(lambda: contents.send("item", value), self.left_got, value)
        await self._arrives(lambda: contents.post_message("item", value), self.left_got, value)
        await self._arrives(lambda: contents.send("reply", value), self.main_got, value)
        await self._arrives(lambda: left.send_to("right", "item", value), self.right_got, value)
        await self._arrives(lambda: left.send_to(right.id, "reply", value), self.left_got, value)
        await self._arrives(lambda: left.broadcast("item", value), self.right_got, value)
        await self._arrives(
            lambda: self.bus.broker.web_contents.broadcast("item", value, exclude=(left.id,)), self.right_got, value
        )
        assert await within(left.invoke("echo", value)) == value
        assert await within(contents.invoke("echo", value)) == value
        assert await within(left.invoke_to("right", "echo", value)) == value
        assert await within(left.invoke_to(right.id, "echo", value)) == value

    @staticmethod
    async def _arrives(send: Callable[[], object], got: Calls, value: object) -> None:
        got.calls.clear()
        send()
        assert (await got.wait())[1:] == (value,)


@pytest.mark.contract("3.3", "3.6", "3.7", "3.8", "3.11")
@pytest.mark.parametrize("make", PAYLOADS)
@pytest.mark.parametrize("shared", [True, False])
async def test_payloads_of_all_sizes_arrive_unchanged_through_every_verb(
    address: str, make: Callable[[int], object], shared: bool
) -> None:
    async with Bus(address, config=Config(shared_memory=shared)) as bus:
        everybody = Everybody(bus, await bus.renderer("left"), await bus.renderer("right"))
        for size in SIZES:
            await everybody.all_verbs(make(size))
        if not shared:
            assert bus.broker.stats()["pools"] == 0


@pytest.mark.contract("3.5")
@pytest.mark.parametrize("make", PAYLOADS)
async def test_payloads_of_all_sizes_arrive_unchanged_through_send_sync(
    address: str, make: Callable[[int], object]
) -> None:
    async with Bus(address) as bus:

        def sync(event: Any, value: object) -> None:
            event.return_value = value

        bus.ipc_main.on("sync", sync)

        def call(renderer: IpcRenderer) -> list[bool]:
            return [renderer.send_sync("sync", value) == value for value in map(make, SIZES)]

        assert all(await in_thread(address, call))


@pytest.mark.contract("9.1")
async def test_64_mib_of_bytes_pass_through_every_verb(address: str) -> None:
    async with Bus(address) as bus:
        everybody = Everybody(bus, await bus.renderer("left"), await bus.renderer("right"))
        async with asyncio.timeout(100):
            await everybody.all_verbs(bytes(64 * MIB))


@pytest.mark.contract("3.5")
async def test_64_mib_of_bytes_pass_through_send_sync(address: str) -> None:
    async with Bus(address) as bus:

        def sync(event: Any, value: object) -> None:
            event.return_value = value

        bus.ipc_main.on("sync", sync)
        value = bytes(64 * MIB)
        assert await in_thread(address, lambda renderer: renderer.send_sync("sync", value)) == value


@pytest.mark.contract("9.1")
async def test_more_than_the_limit_is_refused_before_anything_is_sent(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(message=MIB))) as bus:
        renderer, other = await bus.renderer("left"), await bus.renderer("right")
        contents = bus.contents(renderer)
        got = Calls()
        bus.ipc_main.on("item", got)
        fits, too_large = b"x" * (MIB - 64), b"x" * MIB
        renderer.send("item", fits)
        verbs: list[Callable[[], object]] = [
            lambda: renderer.send("item", too_large),
            lambda: renderer.post_message("item", too_large),
            lambda: renderer.invoke("item", too_large),
            lambda: renderer.send_to("right", "item", too_large),
            lambda: renderer.invoke_to("right", "item", too_large),
            lambda: renderer.broadcast("item", too_large),
            lambda: contents.send("item", too_large),
            lambda: contents.invoke("item", too_large),
            lambda: bus.broker.web_contents.broadcast("item", too_large),
        ]
        for verb in verbs:
            with pytest.raises(mainbus.MessageTooLarge):
                verb()
        await bus.served(renderer)
        assert got.args == [(fits,)]
        assert other.is_connected


@pytest.mark.contract("9.1", "5.4")
async def test_a_result_over_the_limit_rejects_the_call_and_nobody_is_disconnected(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(message=MIB))) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        ids = left.id, right.id
        bus.ipc_main.handle("large", lambda event: b"x" * MIB)
        left.handle("large", lambda event: b"x" * MIB, senders="any")
        calls: list[Callable[[], Reply]] = [
            lambda: right.invoke("large"),
            lambda: right.invoke_to("left", "large"),
            lambda: bus.contents(left).invoke("large"),
        ]
        for call in calls:
            with pytest.raises(mainbus.RemoteError, match="exceeds the limit"):
                await within(call())
        assert (left.id, right.id) == ids


@pytest.mark.contract("9.1", "5.1")
async def test_an_error_over_the_limit_rejects_the_call_and_nobody_is_disconnected(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(message=MIB))) as bus:
        left, right = await bus.renderer("left"), await bus.renderer("right")
        ids = left.id, right.id

        def fail(event: Any) -> None:
            raise ValueError("x" * MIB)

        bus.ipc_main.handle("large", fail)
        left.handle("large", fail, senders="any")
        calls: list[Callable[[], Reply]] = [
            lambda: right.invoke("large"),
            lambda: right.invoke_to("left", "large"),
            lambda: bus.contents(left).invoke("large"),
        ]
        for call in calls:
            with pytest.raises(mainbus.RemoteError):
                await within(call())
        assert (left.id, right.id) == ids


@pytest.mark.contract("9.1", "4.6")
async def test_deeper_than_the_broker_takes_is_refused_before_anything_is_sent(address: str) -> None:
    async with Bus(address, config=Config(limits=Limits(depth=5))) as bus:
        renderer, got = await bus.renderer(), Calls()
        bus.ipc_main.on("item", got)
        with pytest.raises(mainbus.LimitExceeded, match="depth"):
            renderer.send("item", [[[[[[]]]]]])
        renderer.send("item", [[[[]]]])
        await got.wait()
        assert renderer.stats()["reconnects"] == 0


# Large messages let others pass.


@pytest.mark.contract("2.19", "9.4")
async def test_a_large_message_to_a_renderer_lets_calls_to_main_pass(address: str) -> None:
    async with Bus(address) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        large = Calls()
        target.on("large", large, senders="renderers")
        bus.ipc_main.handle("echo", lambda event, value: value)
        source.send_to("target", "large", b"x" * (32 * MIB))
        for number in range(5):
            assert await source.invoke("echo", number) == number
        assert not large.calls
        await large.wait()


@pytest.mark.contract("2.19", "9.4")
async def test_a_large_message_lets_another_sender_reach_its_target(address: str) -> None:
    async with Bus(address) as bus:
        source, target, third = [await bus.renderer(name) for name in ("source", "target", "third")]
        large = Calls()
        target.on("large", large, senders="renderers")
        target.handle("echo", lambda event, value: value, senders="renderers")
        source.send_to("target", "large", b"x" * (32 * MIB))
        await until(lambda: bus.peer(target).wire.received and bus.peer(source).wire.received > 10)
        for number in range(3):
            assert await third.invoke_to("target", "echo", number) == number
        assert not large.calls
        await large.wait()


@pytest.mark.contract("2.19", "9.4")
async def test_a_large_result_lets_another_answer_pass(address: str) -> None:
    async with Bus(address) as bus:
        caller, callee = await bus.renderer("caller"), await bus.renderer("callee")
        callee.handle("large", lambda event: b"x" * (16 * MIB), senders="renderers")
        bus.ipc_main.handle("echo", lambda event, value: value)
        large = caller.invoke_to("callee", "large")
        await until(lambda: bus.peer(callee).wire.received > 10)
        assert await caller.invoke("echo", 1) == 1
        assert not large.done()
        assert len(await large) == 16 * MIB


@pytest.mark.contract("9.1", "9.5")
async def test_large_messages_of_many_senders_to_one_do_not_mix(address: str) -> None:
    async with Bus(address) as bus:
        target = await bus.renderer("target")
        senders = [await bus.renderer(f"sender {index}") for index in range(4)]
        got = Calls()
        target.on("large", got, senders="any")
        for round_ in range(2):
            for index, sender in enumerate(senders):
                sender.send_to("target", "large", index, round_, bytes([index]) * MIB)
                sender.broadcast("large", index, round_, bytes([index]) * MIB)
        bus.contents(target).send("large", 9, 0, b"\x09" * MIB)
        await got.wait(17)
        assert all(value == bytes([index]) * MIB for index, _, value in got.args)
        for index in range(4):
            assert [round_ for sender, round_, _ in got.args if sender == index].count(1) == 2


# What is large is passed on as it is, where that cannot be seen.


@pytest.mark.contract("4.1", "4.4")
async def test_what_the_sender_changes_after_the_call_does_not_change_what_arrives(address: str) -> None:
    async with Bus(address) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        target.handle("echo", lambda event, *values: values, senders="renderers")
        fixed = bytes(range(256)) * (8 * KIB)
        changed = bytearray(fixed)
        numbers = array.array("q", range(200_000))
        reply = source.invoke_to("target", "echo", fixed, changed, memoryview(changed), [numbers, numbers])
        changed[:] = b"-" * len(changed)
        changed.append(1)
        numbers[0] = -1
        assert await within(reply) == [fixed, fixed, fixed, [array.array("q", range(200_000))] * 2]


@pytest.mark.contract("4.1")
async def test_typed_arrays_and_several_large_values_arrive_as_they_were(address: str) -> None:
    async with Bus(address) as bus:
        source, target = await bus.renderer("source"), await bus.renderer("target")
        target.handle("echo", lambda event, *values: values, senders="renderers")
        values = [array.array("d", range(100_000)), {"a": binary(MIB), "b": [binary(MIB), text(MIB)]}, binary(KIB)]
        assert await within(source.invoke_to("target", "echo", *values)) == values
