"""Addresses on Windows: names of pipes, and the default one."""

import sys

import pytest
from mainbus import AddressError
from mainbus.address import Address, check_folder, default_address, parse
from mainbus.windows import current_user

assert sys.platform == "win32"


@pytest.mark.parametrize(
    ("text", "path"),
    [("pipe:app", "app"), ("pipe:My App", "my app"), ("pipe:a:b/c", "a:b/c"), ("pipe:" + "x" * 247, "x" * 247)],
)
def test_parse(text: str, path: str) -> None:
    address = parse(text)
    assert (address, str(address)) == (Address("pipe", path), f"pipe:{path}")
    check_folder(address)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("app", "as in 'pipe:app'"),
        ("pipe:", "the name is missing"),
        (r"pipe:\\.\pipe\app", "no backslash"),
        (r"pipe:server\app", "no backslash"),
        ("pipe:" + "x" * 248, "longer than 247 characters"),
        ("pipe:a\0b", "NUL"),
        ("unix:/run/app.sock", "unknown scheme 'unix:', this system has 'pipe:' and 'memory:'"),
    ],
)
def test_parse_refuses(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert reason in str(caught.value)


@pytest.mark.contract("8.2")
def test_the_default_is_the_users_own(monkeypatch: pytest.MonkeyPatch) -> None:
    user = current_user().lower()
    assert str(default_address()) == f"pipe:mainbus-{user}-default"
    monkeypatch.setenv("MAINBUS_APP", "editor")
    assert str(default_address(across=True)) == f"pipe:mainbus-{user}-editor"
    monkeypatch.setenv("MAINBUS_APP", r"..\editor")
    with pytest.raises(AddressError, match="plain file name"):
        default_address()
    monkeypatch.setenv("MAINBUS_ADDRESS", "pipe:other")
    assert str(default_address()) == "pipe:other"
