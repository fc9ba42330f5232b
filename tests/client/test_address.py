"""Addresses: their text, the default one, and the folder that strangers could prepare."""

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus.address import PATH_LIMIT, Address, check_folder, default_address, is_default_folder, parse
from mainbus.errors import AddressError

NOBODY = 65534


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary folder as systems have it, in the place of the system's, and no runtime folder."""
    with tempfile.TemporaryDirectory(prefix="mb") as folder:
        os.chmod(folder, 0o1777)
        monkeypatch.setattr(tempfile, "tempdir", folder)
        monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
        yield Path(folder)


def fallback(temporary: Path) -> Path:
    return temporary / f"mainbus-{os.geteuid()}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/app.sock", Address("unix", "/run/app.sock")),
        ("unix:/run/a:b", Address("unix", "/run/a:b")),
        ("unix:///run/app.sock", Address("unix", "/run/app.sock")),
        ("unix://run/app.sock", Address("unix", "/run/app.sock")),
        ("unix:/run/x/../app.sock", Address("unix", "/run/app.sock")),
        ("unix:/räksmörgås", Address("unix", "/räksmörgås")),
        ("unix:/\udcff", Address("unix", "/\udcff")),
        ("memory:", Address("memory", "")),
        ("memory:app", Address("memory", "app")),
        ("memory:unix:/x", Address("memory", "unix:/x")),
    ],
)
def test_parse(text: str, address: Address) -> None:
    assert parse(text) == address
    assert parse(str(address)) == address


def test_a_relative_path_starts_at_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse("unix:app.sock") == Address("unix", os.path.join(os.getcwd(), "app.sock"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "starts with its scheme"),
        ("/run/app.sock", "as in 'unix:/run/app.sock'"),
        (":x", "unknown scheme ':'"),
        ("pipe:app", "unknown scheme 'pipe:', this system has 'unix:' and 'memory:'"),
        ("tcp://localhost:1", "unknown scheme 'tcp:'"),
        ("UNIX:/x", "unknown scheme 'UNIX:'"),
        ("unix:", "the path is missing"),
        ("unix:@app", "an abstract socket has no file permissions"),
        ("unix:\0app", "NUL"),
        ("unix:/x\0", "NUL"),
        ("memory:\0", "NUL"),
        ("unix:/\ud800", "cannot be encoded"),
        ("memory:" + "ä" * 128, "longer than 255 bytes"),
    ],
)
def test_parse_refuses(text: str, reason: str) -> None:
    with pytest.raises(AddressError) as caught:
        parse(text)
    assert reason in str(caught.value)
    str(caught.value).encode()


@given(st.text())
def test_parse_returns_an_address_or_says_why(text: str) -> None:
    for scheme in ("", "unix:", "unix:/", "memory:"):
        try:
            address = parse(scheme + text)
        except AddressError:
            continue
        assert parse(str(address)) == address


@pytest.mark.contract("8.2")
def test_a_path_too_long_names_the_limit_and_the_length() -> None:
    assert parse("unix:/" + "x" * (PATH_LIMIT - 1)).path == "/" + "x" * (PATH_LIMIT - 1)
    with pytest.raises(AddressError, match=f"has {PATH_LIMIT + 1} bytes, .* {PATH_LIMIT}$"):
        parse("unix:/" + "x" * PATH_LIMIT)
    with pytest.raises(AddressError, match=f"has {PATH_LIMIT + 1} bytes"):
        parse("unix:/" + "ä" * (PATH_LIMIT // 2) + "x")


def test_the_limit_is_the_systems() -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        with pytest.raises(FileNotFoundError):
            sock.connect("/" + "x" * (PATH_LIMIT - 1))
        with pytest.raises(OSError, match="too long"):
            sock.connect("/" + "x" * PATH_LIMIT)


@pytest.mark.contract("8.2")
def test_the_default_is_in_the_runtime_folder(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(temporary))
    assert str(default_address()) == f"unix:{temporary}/mainbus/default.sock"
    monkeypatch.setenv("MAINBUS_APP", "editor")
    assert str(default_address()) == f"unix:{temporary}/mainbus/editor.sock"
    assert list(temporary.iterdir()) == []


@pytest.mark.contract("8.2")
def test_mainbus_address_overrides(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fallback(temporary).symlink_to("/")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(temporary))
    monkeypatch.setenv("MAINBUS_APP", "editor")
    monkeypatch.setenv("MAINBUS_ADDRESS", "memory:x")
    assert default_address() == Address("memory", "x")
    with pytest.raises(AddressError, match="inside one process"):
        default_address(across=True)


def test_an_address_across_processes_is_no_memory() -> None:
    assert parse("unix:/x", across=True) == parse("unix:/x")
    with pytest.raises(AddressError, match=r"^memory:x: it is an address inside one process"):
        parse("memory:x", across=True)
    with pytest.raises(AddressError, match=r"unknown scheme 'tcp:', this system has 'unix:'$"):
        parse("tcp:1", across=True)


def test_the_default_folder_is_known(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_default_folder(str(fallback(temporary)))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(temporary))
    assert is_default_folder(str(temporary / "mainbus"))
    assert not is_default_folder(str(fallback(temporary)))


@pytest.mark.parametrize("name", ["MAINBUS_ADDRESS", "MAINBUS_APP", "XDG_RUNTIME_DIR"])
def test_an_empty_variable_is_as_good_as_none(temporary: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert str(default_address()) == f"unix:{fallback(temporary)}/default.sock"


@pytest.mark.parametrize("app", ["a/b", "/", ".", "..", "../x"])
def test_the_app_is_a_file_name(temporary: Path, monkeypatch: pytest.MonkeyPatch, app: str) -> None:
    monkeypatch.setenv("MAINBUS_APP", app)
    with pytest.raises(AddressError, match="MAINBUS_APP must be a plain file name"):
        default_address()


@pytest.mark.contract("8.2")
@pytest.mark.parametrize("runtime", ["relative", "/does/not/exist", "/proc/version"])
def test_without_a_runtime_folder_the_default_is_in_the_temporary_one(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
    assert str(default_address()) == f"unix:{fallback(temporary)}/default.sock"
    assert list(temporary.iterdir()) == []


@pytest.mark.contract("8.2")
def test_another_users_runtime_folder_is_not_used(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = foreign_folder(temporary / "foreign")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(foreign))
    assert str(default_address()) == f"unix:{fallback(temporary)}/default.sock"


@pytest.mark.contract("8.2")
def test_a_fallback_folder_of_ours_is_fine(temporary: Path) -> None:
    fallback(temporary).mkdir(mode=0o700)
    check_folder(default_address())


@pytest.mark.contract("8.2")
def test_a_fallback_folder_that_is_a_link_is_refused(temporary: Path) -> None:
    address = default_address()
    (temporary / "ours").mkdir(mode=0o700)
    fallback(temporary).symlink_to(temporary / "ours")
    refused(address, "is a symbolic link")


@pytest.mark.contract("8.2")
def test_a_fallback_folder_that_is_a_file_is_refused(temporary: Path) -> None:
    address = default_address()
    fallback(temporary).touch()
    refused(address, "is no folder")


@pytest.mark.contract("8.2")
@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777])
def test_a_fallback_folder_that_others_can_write_is_refused(temporary: Path, mode: int) -> None:
    address = default_address()
    fallback(temporary).mkdir()
    fallback(temporary).chmod(mode)
    refused(address, f"is writable by others \\(mode 0{mode:o}\\)")


@pytest.mark.contract("8.2")
def test_a_fallback_folder_of_another_user_is_refused(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        address = default_address()
        foreign_folder(fallback(temporary))
        refused(address, f"belongs to the user with uid {NOBODY}")
    else:
        # A folder of root's that every system has, under the name that is ours.
        monkeypatch.setattr(tempfile, "tempdir", "/")
        monkeypatch.setattr("mainbus.address._fallback_name", lambda: "usr")
        refused(Address("unix", "/usr/default.sock"), "belongs to the user with uid 0")


@pytest.mark.contract("8.2")
def test_a_temporary_folder_where_others_can_replace_ours_is_refused(temporary: Path) -> None:
    address = default_address()
    fallback(temporary).mkdir(mode=0o700)
    temporary.chmod(0o777)
    refused(address, "can be replaced by others")


def test_addresses_elsewhere_are_their_users_choice(temporary: Path) -> None:
    (temporary / "open").mkdir()
    (temporary / "open").chmod(0o777)
    check_folder(parse(f"unix:{temporary}/open/s"))
    (temporary / "open" / fallback(temporary).name).symlink_to("/")
    check_folder(parse(f"unix:{temporary}/open/{fallback(temporary).name}/s"))
    fallback(temporary).symlink_to("/")
    check_folder(Address("memory", f"{fallback(temporary)}/s"))


def refused(address: Address, reason: str) -> None:
    for look in (lambda: check_folder(address), default_address):
        with pytest.raises(AddressError, match=f"{reason}.*; set XDG_RUNTIME_DIR"):
            look()


def foreign_folder(path: Path) -> Path:
    """Make a folder of another user; where only root can, return one of root's."""
    if os.geteuid() != 0:
        return Path("/proc" if sys.platform == "linux" else "/usr")
    path.mkdir()
    os.chown(path, NOBODY, NOBODY)
    return path
