"""What a transfer may hold: it is checked before anything is sent, all or nothing, in Chromium's words."""

from collections.abc import Callable
from typing import Any

import pytest
from mainbus import CloneError, MessageChannel, PortError
from mainbus.ports import MessagePort
from mainbus.testing import broker

from tests.support.bus import until


def heard(port: MessagePort) -> list[Any]:
    """Start a port; returns the list to which its messages and its close are added."""
    log: list[Any] = []
    port.on("message", lambda event: log.append(event.data))
    port.on("close", lambda: log.append("closed"))
    port.start()
    return log


@pytest.mark.contract("7.5")
@pytest.mark.parametrize("transfer", [[5], [None], ["port"], "port", 5, 0, {"port": 1}, iter(())])
async def test_a_transfer_holds_ports_only(transfer: Any) -> None:
    channel = MessageChannel()
    with pytest.raises(PortError) as caught:
        channel.port1.post_message("m", transfer)
    assert str(caught.value) == "Invalid value for transfer"


@pytest.mark.contract("7.5")
async def test_a_transfer_is_a_sequence_and_no_port_itself() -> None:
    channel, other = MessageChannel(), MessageChannel()
    with pytest.raises(PortError, match=r"^Invalid value for transfer$"):
        channel.port1.post_message("m", other.port1)  # type: ignore[arg-type]


def _mistakes() -> dict[str, Callable[[MessagePort, MessagePort, MessagePort], list[MessagePort]]]:
    return {
        "Port at index 1 is a duplicate.": lambda source, port, other: [port, port],
        "Port at index 2 is a duplicate.": lambda source, port, other: [port, other, port],
        "Port at index 0 contains the source port.": lambda source, port, other: [source, port],
        "Port at index 1 contains the source port.": lambda source, port, other: [port, source],
        "Port at index 0 is already neutered.": lambda source, port, other: [_closed(), port],
        "Port at index 1 is already neutered.": lambda source, port, other: [port, _transferred()],
        "Port at index 2 is already neutered.": lambda source, port, other: [port, other, _closed()],
    }


def _closed() -> MessagePort:
    port = MessageChannel().port1
    port.close()
    return port


def _transferred() -> MessagePort:
    channel, moved = MessageChannel(), MessageChannel()
    channel.port1.post_message(None, [moved.port1])
    return moved.port1


@pytest.mark.contract("7.5")
@pytest.mark.parametrize("text", _mistakes())
async def test_a_mistake_in_a_transfer_is_named_and_no_port_has_left(text: str) -> None:
    channel, one, two = MessageChannel(), MessageChannel(), MessageChannel()
    transfer = _mistakes()[text](channel.port1, one.port1, two.port1)
    with pytest.raises(PortError) as caught:
        channel.port1.post_message("m", transfer)
    assert str(caught.value) == text
    assert isinstance(caught.value, ValueError)
    logs = [heard(each.port2) for each in (channel, one, two)]
    for each in (channel, one, two):
        each.port1.post_message("works")
        each.port1.close()
    await until(lambda: logs == [["works", "closed"]] * 3)


@pytest.mark.contract("7.5")
async def test_a_port_whose_end_has_been_told_is_neutered() -> None:
    channel, other = MessageChannel(), MessageChannel()
    log = heard(channel.port2)
    channel.port1.close()
    await until(lambda: log)
    with pytest.raises(PortError, match=r"^Port at index 0 is already neutered\.$"):
        other.port1.post_message(None, [channel.port2])


@pytest.mark.contract("7.5", "4.5")
async def test_a_failed_clone_closes_no_port() -> None:
    channel, inner = MessageChannel(), MessageChannel()
    with pytest.raises(CloneError) as caught:
        channel.port1.post_message([print], [inner.port1])
    assert str(caught.value) == "An object could not be cloned. (message[0]: builtin_function_or_method)"
    log = heard(inner.port2)
    inner.port1.post_message("works")
    inner.port1.close()
    await until(lambda: log == ["works", "closed"])
    log = heard(channel.port2)
    channel.port1.post_message("works")
    channel.port1.close()
    await until(lambda: log == ["works", "closed"])


@pytest.mark.contract("7.5")
@pytest.mark.parametrize("verb", ["renderer", "contents", "frame"])
async def test_every_verb_that_transfers_checks_first(verb: str) -> None:
    async with broker() as bus:
        a = await bus.connect("a")
        contents = bus.broker.web_contents.from_name("a")
        assert contents is not None
        senders: dict[str, Any] = {"renderer": a, "contents": contents, "frame": contents.main_frame}
        post = senders[verb].post_message
        channel = MessageChannel()
        port = channel.port1
        for transfer, text in (
            ([port, 5], "Invalid value for transfer"),
            ([port, port], "Port at index 1 is a duplicate."),
            ([_closed()], "Port at index 0 is already neutered."),
        ):
            with pytest.raises(PortError) as caught:
                post("channel", None, transfer)
            assert str(caught.value) == text
        with pytest.raises(CloneError):
            post("channel", print, [port])
        with pytest.raises(TypeError):
            post("", None, [port])
        log = heard(channel.port2)
        port.post_message("works")
        port.close()
        await until(lambda: log == ["works", "closed"])


@pytest.mark.contract("7.5")
async def test_a_port_of_another_connection_is_named() -> None:
    async with broker() as bus:
        a, b = await bus.connect("a"), await bus.connect("b")
        channel = MessageChannel()
        a.post_message("channel", None, [channel.port1])
        await bus.settle()
        with pytest.raises(PortError, match=r"^Port at index 0 belongs to another connection\.$"):
            b.post_message("channel", None, [channel.port2])


@pytest.mark.contract("7.5")
async def test_one_message_carries_no_more_ports_than_its_table_can() -> None:
    channel = MessageChannel()
    many = [MessageChannel() for _ in range(1025)]
    with pytest.raises(PortError, match=r"^Expected at most 1024 ports in one transfer, but found 1025$"):
        channel.port1.post_message(None, [each.port1 for each in many])
    channel.port1.post_message(None, [each.port1 for each in many[:1024]])
    async for event in channel.port2:
        assert len(event.ports) == 1024
        break
