"""The tree of errors: shape, wire codes, texts."""

import builtins
import inspect
import re

import pytest
from mainbus import errors
from mainbus.errors import BUILT_IN, MainbusError, RemoteError, by_code, from_wire

BASES = {
    "InvokeTimeout": TimeoutError,
    "ConnectionLost": ConnectionError,
    "ConnectRefused": ConnectionError,
    "CloneError": TypeError,
    "ValidationError": TypeError,
    "PermissionDenied": PermissionError,
    "NoSuchRenderer": LookupError,
    "PortError": ValueError,
    "AddressError": ValueError,
    "ConfigError": ValueError,
    "NoHandlerError": RemoteError,
    "ReplyNeverSent": RemoteError,
    "MessageTooLarge": errors.LimitExceeded,
    "SendQueueFull": errors.LimitExceeded,
    "TooManyRequests": errors.LimitExceeded,
}

TEXTS = [
    (errors.RemoteError("x", "ValueError", "some error"), "Error invoking remote method 'x': ValueError: some error"),
    (errors.RemoteError("x", "ValueError", ""), "Error invoking remote method 'x': ValueError"),
    (errors.RemoteError("x", "", "no name"), "Error invoking remote method 'x': no name"),
    (errors.RemoteError(None, "ValueError", "some error"), "ValueError: some error"),
    (errors.RemoteError(None, "", ""), ""),
    (errors.NoHandlerError("x"), "Error invoking remote method 'x': Error: No handler registered for 'x'"),
    (errors.ReplyNeverSent("x"), "Error invoking remote method 'x': reply was never sent"),
    (errors.InvokeTimeout("x", 0.5), "Error invoking remote method 'x': no reply within 0.5 s"),
    (errors.ConnectionLost(), "The connection to the broker was lost"),
    (errors.ConnectionLost("end of file"), "The connection to the broker was lost: end of file"),
    (errors.ConnectRefused("unix:/a", "no broker"), "Could not connect to unix:/a: no broker"),
    (
        errors.CloneError("args[0].children[2]", "function"),
        "An object could not be cloned. (args[0].children[2]: function)",
    ),
    (errors.ValidationError("wrong", parameter="n", path="n"), "wrong"),
    (errors.PermissionDenied("send"), "Permission denied: send"),
    (errors.PermissionDenied("send", "x"), "Permission denied: send on 'x'"),
    (errors.ObjectDestroyedError(), "Object has been destroyed"),
    (errors.ObjectDestroyedError("called after release"), "called after release"),
    (errors.NoSuchRenderer(4), "No renderer has id 4"),
    (errors.NoSuchRenderer("editor"), "No renderer is named 'editor'"),
    (errors.NameTaken("editor"), "The name 'editor' is taken by another renderer"),
    (errors.LimitExceeded("The nesting depth", 512), "The nesting depth exceeds the limit of 512"),
    (errors.LimitExceeded("Too deep"), "Too deep"),
    (errors.MessageTooLarge(5, 4), "A message of 5 bytes exceeds the limit of 4"),
    (errors.SendQueueFull(4), "The send queue exceeds the limit of 4"),
    (errors.SendQueueFull(4, "editor"), "The send queue for 'editor' exceeds the limit of 4"),
    (errors.TooManyRequests(4), "The number of pending requests exceeds the limit of 4"),
    (errors.PortError("Port at index 1 is a duplicate."), "Port at index 1 is a duplicate."),
    (errors.AddressError("unix:/a", "it is served"), "unix:/a: it is served"),
    (errors.AddressError("unix:/a", "it is served", pid=7), "unix:/a: it is served (pid 7)"),
    (errors.ConfigError("wrong"), "wrong"),
    (errors.BadMessage(), "The message does not decode"),
]


@pytest.mark.contract("5.8")
def test_tree_is_the_documented_one() -> None:
    assert errors.__doc__ is not None
    drawn = {int(code): name for name, code in re.findall(r"(\w+)  (\d+)", errors.__doc__)}
    assert drawn == {code: cls.__name__ for code, cls in by_code.items()}
    assert sorted(by_code) == list(range(23))
    for cls in by_code.values():
        assert issubclass(cls, BASES.get(cls.__name__, MainbusError))
        assert "wire_code" in vars(cls)
        assert cls.__name__ in errors.__all__


@pytest.mark.contract("5.1", "5.2")
@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_constructors_write_the_sentence(error: MainbusError, text: str) -> None:
    assert str(error) == text
    assert error.args == (str(error),)


def test_constructors_keep_the_data() -> None:
    cause = ValueError("v")
    remote = RemoteError("x", "E", "m", code=3, data=[1], cause=cause, notes=["n"], remote_traceback="t")
    assert (remote.channel, remote.type_name, remote.remote_message, remote.code) == ("x", "E", "m", 3)
    assert (remote.data, remote.notes, remote.remote_traceback) == ([1], ("n",), "t")
    assert remote.cause is remote.__cause__ is cause
    assert remote.__notes__ == ["n"]
    clone = errors.CloneError("args[0]", "function")
    assert (clone.path, clone.reason) == ("args[0]", "function")
    invalid = errors.ValidationError("wrong", parameter="n", path="n.a")
    assert (invalid.parameter, invalid.path) == ("n", "n.a")
    large = errors.MessageTooLarge(5, 4)
    assert (large.size, large.limit) == (5, 4)
    full = errors.SendQueueFull(4, 9)
    assert (full.target, full.limit) == (9, 4)
    assert errors.TooManyRequests(4).limit == 4
    assert errors.NoSuchRenderer("n").target == "n"
    assert errors.NameTaken("n").name == "n"
    address = errors.AddressError("unix:/a", "served", pid=7)
    assert (address.address, address.reason, address.pid) == ("unix:/a", "served", 7)
    late = errors.InvokeTimeout("x", 2)
    assert (late.channel, late.timeout, late.errno) == ("x", 2, None)
    assert errors.ConnectionLost("r").reason == "r"
    refused = errors.ConnectRefused("a", "r")
    assert (refused.address, refused.reason) == ("a", "r")
    denied = errors.PermissionDenied("send", "x")
    assert (denied.verb, denied.channel) == ("send", "x")
    limit = errors.LimitExceeded("depth", 3)
    assert (limit.what, limit.limit) == ("depth", 3)


@pytest.mark.contract("5.8")
@pytest.mark.parametrize("cls", by_code.values())
def test_from_wire_keeps_the_text_to_the_letter(cls: type[MainbusError]) -> None:
    error = from_wire(cls.wire_code, "{channel}", "[Errno 1] {0}: 'text'")
    assert type(error) is cls
    assert str(error) == "[Errno 1] {0}: 'text'"
    assert error.channel == "{channel}"
    # Every attribute can be read, though the wire does not carry it.
    for base in cls.__mro__:
        for name in inspect.get_annotations(base):
            getattr(error, name)


def test_from_wire_without_a_text_uses_the_sentence() -> None:
    assert str(from_wire(2, "x{}", "")) == str(errors.NoHandlerError("x{}"))
    assert str(from_wire(3, "x", "")) == str(errors.ReplyNeverSent("x"))
    assert str(from_wire(10, None, "")) == "Object has been destroyed"


def test_from_wire_finds_the_remote_message() -> None:
    error = from_wire(3, "x", str(errors.ReplyNeverSent("x")))
    assert isinstance(error, errors.ReplyNeverSent)
    assert error.remote_message == "reply was never sent"


def test_from_wire_of_a_newer_peer() -> None:
    error = from_wire(999, None, "out of tea")
    assert type(error) is MainbusError
    assert str(error) == "out of tea"


@pytest.mark.contract("5.3")
def test_built_in_table_is_closed_and_complete() -> None:
    roots = (
        ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError, NameError,
        NotImplementedError, OSError, RuntimeError, TypeError, ValueError,
    )  # fmt: skip
    found = {
        name: cls
        for name, cls in vars(builtins).items()
        if isinstance(cls, type) and issubclass(cls, roots) and not issubclass(cls, ConnectionError)
    }
    aliases = {name for name, cls in found.items() if cls.__name__ != name}  # IOError, EnvironmentError
    assert dict(BUILT_IN) == {name: cls for name, cls in found.items() if name not in aliases}
    assert not {"StopIteration", "StopAsyncIteration", "ConnectionError", "Exception"} & set(BUILT_IN)
