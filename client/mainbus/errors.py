"""The tree of everything mainbus raises; broker, client and applications import it.

A class names the situation, its constructor takes the data of it and writes the sentence. ``wire_code`` is the
class's stable number in error packets::

    MainbusError  0
    ├── RemoteError  1                        the other side's handler raised
    │   ├── NoHandlerError  2
    │   └── ReplyNeverSent  3
    ├── InvokeTimeout  4                      also a TimeoutError
    ├── ConnectionLost  5                     also a ConnectionError
    ├── ConnectRefused  6                     also a ConnectionError
    ├── CloneError  7                         also a TypeError
    ├── ValidationError  8                    also a TypeError
    ├── PermissionDenied  9                   also a PermissionError
    ├── ObjectDestroyedError  10
    ├── NoSuchRenderer  11                    also a LookupError
    ├── NameTaken  12
    ├── LimitExceeded  13
    │   ├── MessageTooLarge  14
    │   ├── SendQueueFull  15
    │   └── TooManyRequests  16
    ├── PortError  17                         also a ValueError
    ├── AddressError  18                      also a ValueError
    ├── ConfigError  19                       also a ValueError
    ├── BadMessage  20                        a body that does not decode: its sender's fault
    ├── LocalProtocolError  21                this side's bug
    └── RemoteProtocolError  22               the peer's fault

Attributes that the wire does not carry are None on an error that ``from_wire`` made; its text is complete.
"""

import builtins
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import ClassVar

__all__ = [
    "BUILT_IN",
    "AddressError",
    "BadMessage",
    "CloneError",
    "ConfigError",
    "ConnectRefused",
    "ConnectionLost",
    "InvokeTimeout",
    "LimitExceeded",
    "LocalProtocolError",
    "MainbusError",
    "MessageTooLarge",
    "NameTaken",
    "NoHandlerError",
    "NoSuchRenderer",
    "ObjectDestroyedError",
    "PermissionDenied",
    "PortError",
    "RemoteError",
    "RemoteProtocolError",
    "ReplyNeverSent",
    "SendQueueFull",
    "TooManyRequests",
    "ValidationError",
    "by_code",
    "from_wire",
]


class MainbusError(Exception):
    """Root of everything mainbus raises.

    Attributes:
        channel: the channel concerned, where there is one.
        wire_code: the number that stands for the class on the wire; it never changes.
    """

    wire_code: ClassVar[int] = 0
    # What an error says that came without a text; "{channel}" is filled in.
    _summary: ClassVar[str] = "mainbus failed"

    channel: str | None = None

    def __init__(self, message: str | None = None) -> None:
        super().__init__(self._summary if message is None else message)

    def __str__(self) -> str:
        # Not the built-in second base's: KeyError and OSError write their own.
        return str(self.args[0]) if self.args else self._summary


class RemoteError(MainbusError):
    """The other side's handler raised.

    Where the remote exception was of a built-in type, the error can be caught as that type too.

    Args:
        channel: the invoked channel; None for an exception that arrived as a value.
        type_name: the remote class's name; empty where Electron's text has none.
        remote_message: what the remote exception said.
        code: the remote exception's own ``code`` (Node's habit), a plain value.
        data: the remote exception's own ``data``, a plain value.
        cause: the exception it was raised from, rebuilt; also this error's ``__cause__``.
        notes: its notes, also this error's own.
        remote_traceback: the formatted traceback, if the remote side's config lets it cross.
    """

    wire_code = 1
    _summary = "Error invoking remote method '{channel}'"

    type_name: str = ""
    remote_message: str = ""
    code: object = None
    data: object = None
    cause: BaseException | None = None
    notes: tuple[str, ...] = ()
    remote_traceback: str | None = None

    def __init__(
        self,
        channel: str | None,
        type_name: str,
        remote_message: str,
        *,
        code: object = None,
        data: object = None,
        cause: BaseException | None = None,
        notes: Iterable[str] = (),
        remote_traceback: str | None = None,
    ) -> None:
        # Past MainbusError's: next in line may be an application's constructor (see remote.register_error), which
        # must not run. The fields go in below its __setattr__ and properties for the same reason.
        BaseException.__init__(self, _invoke_text(channel, type_name, remote_message))
        vars(self).update(
            channel=channel,
            type_name=type_name,
            remote_message=remote_message,
            code=code,
            data=data,
            cause=cause,
            notes=tuple(notes),
            remote_traceback=remote_traceback,
        )
        if self.notes:
            vars(self)["__notes__"] = list(self.notes)
        if cause is not None:
            BaseException.__setattr__(self, "__cause__", cause)


class NoHandlerError(RemoteError):
    """Nobody handles the invoked channel."""

    wire_code = 2
    _summary = "Error invoking remote method '{channel}': Error: No handler registered for '{channel}'"

    def __init__(self, channel: str) -> None:
        super().__init__(channel, "Error", f"No handler registered for '{channel}'")


class ReplyNeverSent(RemoteError):
    """The handler's side went away, or no listener of a synchronous call answered."""

    wire_code = 3
    _summary = "Error invoking remote method '{channel}': reply was never sent"

    def __init__(self, channel: str) -> None:
        super().__init__(channel, "", "reply was never sent")


class InvokeTimeout(MainbusError, TimeoutError):
    """No reply within the call's ``timeout`` (seconds)."""

    wire_code = 4
    _summary = "Error invoking remote method '{channel}': no reply in time"

    timeout: float | None = None

    def __init__(self, channel: str, timeout: float) -> None:
        super().__init__(_invoke_text(channel, "", f"no reply within {timeout:g} s"))
        self.channel = channel
        self.timeout = timeout


class ConnectionLost(MainbusError, ConnectionError):
    """The connection to the broker is gone, or not open yet.

    Attributes:
        reason: why, where it is known.
    """

    wire_code = 5
    _summary = "The connection to the broker was lost"

    reason: str | None = None

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(f"{self._summary}: {reason}" if reason else self._summary)
        self.reason = reason


class ConnectRefused(MainbusError, ConnectionError):
    """No broker there, or it does not want this renderer; the reason says what to do.

    Attributes:
        address: where the broker was looked for.
        reason: why, and what to do.
    """

    wire_code = 6
    _summary = "The broker refused the connection"

    address: str | None = None
    reason: str | None = None

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"Could not connect to {address}: {reason}")
        self.address = address
        self.reason = reason


class CloneError(MainbusError, TypeError):
    """A value that structured clone does not carry; raised before anything is sent.

    Args:
        path: where it is, from the root, such as ``args[0].children[2]``.
        reason: what it is, such as ``function``.
    """

    wire_code = 7
    _summary = "An object could not be cloned."

    path: str | None = None
    reason: str | None = None

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{self._summary} ({path}: {reason})")
        self.path = path
        self.reason = reason


class ValidationError(MainbusError, TypeError):
    """The arguments do not fit the callable; it did not run.

    Args:
        message: the sentence.
        parameter: name of the parameter, where there is one.
        path: where, from that name on: ``doc.pages[1]``.
    """

    wire_code = 8
    _summary = "The arguments do not fit the callable"

    parameter: str | None = None
    path: str | None = None

    def __init__(self, message: str, *, parameter: str | None = None, path: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.path = path


class PermissionDenied(MainbusError, PermissionError):
    """The renderer's role does not allow this verb on this channel.

    Attributes:
        verb: what it may not do, such as ``send``.
    """

    wire_code = 9
    _summary = "Permission denied"

    verb: str | None = None

    def __init__(self, verb: str, channel: str | None = None) -> None:
        super().__init__(f"Permission denied: {verb}" + ("" if channel is None else f" on '{channel}'"))
        self.verb = verb
        self.channel = channel


class ObjectDestroyedError(MainbusError):
    """A method was called on something that is gone."""

    wire_code = 10
    _summary = "Object has been destroyed"


class NoSuchRenderer(MainbusError, LookupError):
    """No renderer has this id (int) or name (str).

    Attributes:
        target: the id or name.
    """

    wire_code = 11
    _summary = "No such renderer"

    target: int | str | None = None

    def __init__(self, target: int | str) -> None:
        super().__init__(f"No renderer {'has id' if isinstance(target, int) else 'is named'} {target!r}")
        self.target = target


class NameTaken(MainbusError):
    """Another renderer has this name.

    Attributes:
        name: the name.
    """

    wire_code = 12
    _summary = "The name is taken by another renderer"

    name: str | None = None

    def __init__(self, name: str) -> None:
        super().__init__(f"The name {name!r} is taken by another renderer")
        self.name = name


class LimitExceeded(MainbusError):
    """Over a bound.

    Args:
        what: what there is too much of, such as ``nesting depth``; a whole sentence where ``limit`` is None.
        limit: the bound, in the unit of what is counted.
    """

    wire_code = 13
    _summary = "A limit was exceeded"

    what: str | None = None
    limit: int | None = None

    def __init__(self, what: str, limit: int | None = None) -> None:
        super().__init__(what if limit is None else f"{what} exceeds the limit of {limit}")
        self.what = what
        self.limit = limit


class MessageTooLarge(LimitExceeded):
    """One message is larger (bytes) than the receiver or the broker takes.

    Attributes:
        size: how large it is.
    """

    wire_code = 14
    _summary = "The message is too large"

    size: int | None = None

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"A message of {size} bytes", limit)
        self.size = size


class SendQueueFull(LimitExceeded):
    """A target does not keep up and what waits for it has reached the bound.

    Args:
        limit: the bound, in bytes.
        target: whom the queue is for: id (0: main) or name, or None for the broker.
    """

    wire_code = 15
    _summary = "The send queue is full"

    target: int | str | None = None

    def __init__(self, limit: int, target: int | str | None = None) -> None:
        super().__init__("The send queue" if target is None else f"The send queue for {target!r}", limit)
        self.target = target


class TooManyRequests(LimitExceeded):
    """More pending calls, handlers or whatever ``what`` names than one renderer may have."""

    wire_code = 16
    _summary = "Too many requests"

    def __init__(self, limit: int, what: str = "The number of pending requests") -> None:
        super().__init__(what, limit)


class PortError(MainbusError, ValueError):
    """A transfer list that cannot be transferred."""

    wire_code = 17
    _summary = "Invalid value for transfer"


class AddressError(MainbusError, ValueError):
    """An address that cannot be understood, or cannot be served.

    Args:
        address: as it was given.
        reason: what is wrong with it.
        pid: the process that holds it, where one does.
    """

    wire_code = 18
    _summary = "The address cannot be used"

    address: str | None = None
    reason: str | None = None
    pid: int | None = None

    def __init__(self, address: str, reason: str, *, pid: int | None = None) -> None:
        super().__init__(f"{address}: {reason}" + ("" if pid is None else f" (pid {pid})"))
        self.address = address
        self.reason = reason
        self.pid = pid


class ConfigError(MainbusError, ValueError):
    """A setting is unknown or has an impossible value."""

    wire_code = 19
    _summary = "The configuration is wrong"


class BadMessage(MainbusError):
    """A body that does not decode: its sender's fault, never its receiver's."""

    wire_code = 20
    _summary = "The message does not decode"


class LocalProtocolError(MainbusError):
    """This side broke the protocol's rules: a bug here."""

    wire_code = 21
    _summary = "This side broke the protocol"


class RemoteProtocolError(MainbusError):
    """The peer broke the protocol's rules."""

    wire_code = 22
    _summary = "The peer broke the protocol"


def from_wire(code: int, channel: str | None, text: str) -> MainbusError:
    """Make the error that an error packet names.

    Args:
        code: a ``wire_code``; an unknown one (a newer peer's) makes a plain `MainbusError`.
        channel: the channel of the call that failed, where there is one.
        text: becomes ``str()`` of the error, to the letter; empty: the class's own sentence.

    Returns:
        The error, its constructor not run: what the text does not carry is None.
    """
    cls = by_code.get(code, MainbusError)
    error = cls.__new__(cls)
    MainbusError.__init__(error, text or cls._summary.replace("{channel}", channel or ""))
    error.channel = channel
    if isinstance(error, RemoteError):
        error.remote_message = str(error).removeprefix(_invoke_text(channel, "", ""))
    return error


def _invoke_text(channel: str | None, type_name: str, message: str) -> str:
    """Electron's sentence; a value that came by no call has no channel to name."""
    said = f"{type_name}: {message}" if type_name and message else type_name or message  # as Error.toString
    return said if channel is None else f"Error invoking remote method '{channel}': {said}"


def _tree(root: type[MainbusError]) -> Iterator[type[MainbusError]]:
    yield root
    for cls in root.__subclasses__():
        yield from _tree(cls)


by_code: Mapping[int, type[MainbusError]] = MappingProxyType({cls.wire_code: cls for cls in _tree(MainbusError)})
"""Every class by its ``wire_code``."""

_BUILT_IN = """
ArithmeticError FloatingPointError OverflowError ZeroDivisionError
AssertionError AttributeError BufferError EOFError
ImportError ModuleNotFoundError
LookupError IndexError KeyError
NameError UnboundLocalError
OSError BlockingIOError ChildProcessError FileExistsError FileNotFoundError InterruptedError IsADirectoryError
NotADirectoryError PermissionError ProcessLookupError TimeoutError
RuntimeError NotImplementedError PythonFinalizationError RecursionError
TypeError
ValueError UnicodeError UnicodeDecodeError UnicodeEncodeError UnicodeTranslateError
"""

# PythonFinalizationError came with 3.13; where a class is missing, its name arrives as a plain RemoteError.
BUILT_IN: Mapping[str, type[Exception]] = MappingProxyType(
    {name: getattr(builtins, name) for name in _BUILT_IN.split() if hasattr(builtins, name)}
)
"""The closed table of built-in classes that an error from the other side can be caught as.

Left out on purpose: StopIteration and StopAsyncIteration would end the caller's loop, the ConnectionError family
would pass for the loss of the caller's own connection, and what is only a BaseException would end its program.
"""
