"""Tokens: each works once, and neither log nor dump shows one."""

import asyncio
import logging

import mainbus
import pytest
from mainbus import ConnectRefused
from mainbus_broker import WebContents
from mainbus_broker.hosting import Link
from mainbus_broker.tokens import Grant, Tokens, digest_of

from tests.support.bus import Bus


@pytest.mark.contract("2.21")
def test_a_token_works_once_and_brings_name_and_role() -> None:
    tokens = Tokens()
    named, nameless = tokens.issue("editor", "tester"), tokens.issue(None, None)
    assert named != nameless
    assert tokens.redeem(named, "something else") == Grant("editor", "tester")
    assert tokens.redeem(nameless, "chosen") == Grant("chosen", None)
    assert tokens.redeem(tokens.issue(None, None), None) == Grant(None, None)
    for used in (named, nameless, "guessed", "", "\ud800"):
        with pytest.raises(ConnectRefused, match="unknown or was used before"):
            tokens.redeem(used, None)


@pytest.mark.contract("2.21")
def test_a_token_can_be_taken_back() -> None:
    tokens = Tokens()
    token = tokens.issue(None, None)
    tokens.revoke(token)
    tokens.revoke(token)
    with pytest.raises(ConnectRefused):
        tokens.redeem(token, None)
    assert not tokens._open


async def test_whoever_waits_hears_who_came(address: str) -> None:
    async with Bus(address) as bus:
        contents, tokens = bus.contents(await bus.renderer()), Tokens()
        token, other = tokens.issue(None, None), tokens.issue(None, None)
        future: asyncio.Future[WebContents] = asyncio.get_running_loop().create_future()
        tokens.when_redeemed(token, future)
        tokens.connected(other, contents)
        assert not future.done()
        tokens.connected(token, contents)
        assert future.result() is contents
        tokens.connected(token, contents)
        gone: asyncio.Future[WebContents] = asyncio.get_running_loop().create_future()
        tokens.when_redeemed(other, gone)
        gone.cancel()
        tokens.connected(other, contents)


def test_the_registry_holds_no_token_itself() -> None:
    tokens = Tokens()
    token = tokens.issue("editor", None)
    assert token not in repr(tokens._open)
    assert len(token) >= 32


@pytest.mark.contract("2.21")
async def test_a_token_given_to_connect_counts_and_is_not_logged(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with Bus(address) as bus:
        token = bus.hub.tokens.issue("editor", "tester")
        async with mainbus.connect(address, name="mine", token=token) as renderer:
            assert renderer.name == "editor"
            assert bus.contents(renderer).role == "tester"
            with pytest.raises(ConnectRefused) as caught:
                _ = await mainbus.connect(address, token=token)
        assert token not in str(caught.value)
        assert token not in caplog.text


@pytest.mark.contract("2.21", "9.6")
async def test_a_reconnect_needs_no_second_token(address: str) -> None:
    async with Bus(address) as bus:
        token = bus.hub.tokens.issue("editor", "tester")
        renderer = mainbus.connect(address, token=token)
        back = asyncio.Event()
        renderer.events.on("reconnected", back.set)
        async with renderer:
            assert renderer._session is not None
            assert renderer._session.link is not None
            renderer._session.link.abort()
            async with asyncio.timeout(10):
                await back.wait()
            contents = bus.contents(renderer)
            assert (contents.name, contents.id) == ("editor", 2)


@pytest.mark.contract("7.8")
def test_a_token_can_be_looked_at_and_expected_again() -> None:
    tokens, link = Tokens(), Link(None, 1, "viewer")
    token = tokens.issue("viewer", None, link)
    assert tokens.redeem(token, None, use=False).link is link
    assert not tokens.expect(digest_of(token), "other", Link(None, 2, None))
    assert tokens.redeem(token, None) == Grant("viewer", None, link)
    assert tokens.expect(digest_of(token), "viewer", link)
    assert tokens.redeem(token, None).link is link
    tokens.expect(digest_of(token), "viewer", link)
    tokens.forget(digest_of(token))
    with pytest.raises(ConnectRefused):
        tokens.redeem(token, None)


async def test_a_token_survives_a_name_that_is_taken(address: str) -> None:
    async with Bus(address) as bus:
        holder = await bus.renderer("editor")
        token = bus.hub.tokens.issue("editor", None)
        with pytest.raises(mainbus.NameTaken):
            _ = await mainbus.connect(address, token=token)
        await holder.aclose()
        async with mainbus.connect(address, token=token) as renderer:
            assert renderer.name == "editor"
