"""Sockets that somebody else has bound and handed to this process."""

import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from mainbus.errors import AddressError
from mainbus_broker import Broker, activation
from mainbus_broker.activation import inherited


@pytest.fixture
def sock(address: str) -> Iterator[socket.socket]:
    made = socket.socket(socket.AF_UNIX)
    made.bind(address.removeprefix("unix:"))
    made.listen()
    yield made
    made.close()


def test_nothing_is_inherited_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LISTEN_FDS", raising=False)
    assert inherited() == []


def test_a_number_is_taken_over_and_no_child_gets_it(sock: socket.socket, address: str) -> None:
    number = os.dup(sock.fileno())
    os.set_inheritable(number, True)
    (taken,) = inherited([number, number])
    with taken:
        assert taken.fileno() == number
        assert taken.getsockname() == address.removeprefix("unix:")
        assert not taken.get_inheritable()


def test_those_of_systemd_are_taken_and_its_variables_removed(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Far from those that others have: nobody's descriptor is overwritten.
    numbers = [fcntl.fcntl(sock, fcntl.F_DUPFD, 700), fcntl.fcntl(sock, fcntl.F_DUPFD, 701)]
    assert numbers[1] == numbers[0] + 1
    # systemd's begin at 3, which is taken in this process.
    monkeypatch.setattr(activation, "_FIRST", numbers[0])
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "2")
    monkeypatch.setenv("LISTEN_FDNAMES", "one:two")
    taken = inherited([numbers[1]])
    assert sorted(one.fileno() for one in taken) == sorted(numbers)
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} & set(os.environ)
    for one in taken:
        one.close()


@pytest.mark.parametrize(("pid", "count"), [("1", "1"), ("", "1"), ("self", ""), ("self", "-1"), ("self", "x")])
def test_those_for_another_process_are_left_alone(pid: str, count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if pid == "self" else pid)
    monkeypatch.setenv("LISTEN_FDS", count)
    assert inherited() == []
    assert "LISTEN_FDS" not in os.environ


def test_what_is_no_unix_socket_is_refused_and_stays_open(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, socket.socket(socket.AF_INET) as inet:
        with pytest.raises(AddressError, match=f"^fd:{file.fileno()}: is no socket"):
            inherited([file.fileno()])
        with pytest.raises(AddressError, match=f"^fd:{inet.fileno()}: .* no Unix socket"):
            inherited([inet.fileno()])
        os.fstat(file.fileno())
        os.fstat(inet.fileno())
    for number in (9_999, -1):
        with pytest.raises(AddressError, match=f"^fd:{number}: "):
            inherited([number])


def test_if_one_is_wrong_none_is_kept(sock: socket.socket) -> None:
    number = os.dup(sock.fileno())
    with pytest.raises(AddressError):
        inherited([number, 9_999])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


async def test_a_broker_serves_it_and_leaves_its_path(sock: socket.socket, address: str) -> None:
    async with Broker(sockets=inherited([os.dup(sock.fileno())])) as broker:
        assert broker.addresses == [address]
    assert Path(address.removeprefix("unix:")).is_socket()
