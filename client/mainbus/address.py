"""Where a broker is reached: the text of an address, what it means, and the default one.

Both ends import it. It looks at the file system and never changes it: making folders is the listener's work.
"""

import os
import stat
import sys
import tempfile
from dataclasses import dataclass
from typing import Final

from mainbus.errors import AddressError

if sys.platform == "win32":
    from mainbus.windows import current_user

__all__ = ["PATH_LIMIT", "Address", "check_folder", "default_address", "is_default_folder", "parse"]

PATH_LIMIT = 107 if sys.platform == "linux" else 103
"""The longest socket path in bytes: the room in ``sockaddr_un`` without its closing NUL."""

_NAME_LIMIT = 255
_SCHEMES = ("pipe", "memory") if sys.platform == "win32" else ("unix", "memory")
_PIPE_LIMIT = 247
"""Of the 256 characters that Windows allows, ``\\\\.\\pipe\\`` takes nine."""
_FALLBACK = "mainbus-"
_REMEDY = "set XDG_RUNTIME_DIR to a folder of your own, or MAINBUS_ADDRESS to an address"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker is reached; ``str()`` gives the text that `parse` reads.

    Attributes:
        scheme: ``"unix"``, on Windows ``"pipe"``; or ``"memory"``.
        path: the socket's absolute path, the pipe's name, or the name inside this process (may be empty).
    """

    scheme: str
    path: str

    def __str__(self) -> str:
        return f"{self.scheme}:{self.path}"


def parse(text: str, *, across: bool = False) -> Address:
    """Read an address.

    Args:
        text: ``unix:/path/of/a/socket`` (a relative path starts at the current folder), on Windows ``pipe:name``; or
            ``memory:`` with an optional name, inside this process.
        across: it has to lead from one process to another.

    Returns:
        The address, its path absolute.

    Raises:
        AddressError: unknown scheme, or a path that no socket can have (or a name that no pipe can), or one inside this
            process ``across``.
    """
    scheme, colon, rest = text.partition(":")
    if not colon:
        raise AddressError(text, f"an address starts with its scheme, as in '{_SCHEMES[0]}:{text}'")
    if scheme not in _SCHEMES:
        known = " and ".join(f"'{scheme}:'" for scheme in _SCHEMES if not across or scheme != "memory")
        raise AddressError(text, f"unknown scheme '{scheme}:', this system has {known}")
    if across and scheme == "memory":
        raise AddressError(text, "it is an address inside one process, which no other process can reach")
    if "\0" in rest:
        raise AddressError(repr(text), "it contains a NUL character")
    return Address(scheme, _PATHS[scheme](text, rest))


def default_address(*, across: bool = False) -> Address:
    """The address of both ends when none is given. `across` as in `parse`.

    ``MAINBUS_ADDRESS`` if set. Else ``mainbus/<app>.sock`` in ``$XDG_RUNTIME_DIR``, if that is a folder of this user,
    else ``<app>.sock`` in ``mainbus-<uid>`` in the temporary folder. On Windows it is the pipe ``mainbus-<sid>-<app>``,
    with the user's SID. ``<app>`` is ``MAINBUS_APP`` or ``default``.

    Raises:
        AddressError: a variable makes no address, or somebody else may have made the folder in the temporary one.
    """
    if text := os.environ.get("MAINBUS_ADDRESS"):
        return parse(text, across=across)
    if sys.platform == "win32":
        return parse(f"pipe:mainbus-{current_user()}-{_app_name()}")
    address = parse(f"unix:{os.path.join(_default_folder(), _app_name())}.sock")
    check_folder(address)
    return address


def check_folder(address: Address) -> None:
    """Refuse a default folder that is not safely ours.

    Anybody can make folders in the temporary folder. One that is a link, another user's, or writable by others could
    hold an impostor's socket, so both ends look before each use. Addresses elsewhere are their user's choice, and a
    folder that is missing holds no socket: both pass.

    Raises:
        AddressError: it is not, and the text says what to do.
    """
    # Most folders are told apart by this at once; it is looked at for each connection.
    if address.scheme != "unix" or _FALLBACK not in address.path:
        return
    folder = os.path.dirname(address.path)
    # The name first: asking for the temporary folder may try out several.
    if os.path.basename(folder) != _fallback_name() or folder != _fallback_folder():
        return
    try:
        status = os.lstat(folder)
    except FileNotFoundError:
        return
    if fault := _fault_of(status) or _fault_of_parent(os.path.dirname(folder)):
        raise AddressError(str(address), f"the folder {folder} {fault}; {_REMEDY}")


def is_default_folder(folder: str) -> bool:
    """Tell whether a folder is the one of the default address: the only one that a listener makes."""
    return folder == _default_folder()


def _memory_name(text: str, name: str) -> str:
    if len(name.encode("utf-8", "surrogatepass")) > _NAME_LIMIT:
        raise AddressError(text, f"the name is longer than {_NAME_LIMIT} bytes")
    return name


def _pipe_name(text: str, name: str) -> str:
    if not name:
        raise AddressError(text, "the name is missing, as in 'pipe:app'")
    if "\\" in name:
        raise AddressError(text, r"a pipe's name has no backslash; 'pipe:app' is what Windows calls \\.\pipe\app")
    if len(name.encode("utf-16-le", "surrogatepass")) > 2 * _PIPE_LIMIT:
        raise AddressError(text, f"the name is longer than {_PIPE_LIMIT} characters")
    # Windows does not tell capitals from small letters.
    return name.lower()


def _unix_path(text: str, path: str) -> str:
    if not path:
        raise AddressError(text, "the path is missing, as in 'unix:/run/user/1000/app.sock'")
    if path.startswith("@"):
        raise AddressError(text, "an abstract socket has no file permissions, so every user could connect")
    if not path.startswith("/") or path.endswith("/") or "//" in path or "/." in path:
        # POSIX lets two leading slashes mean something else; no system here makes use of it.
        path = "/" + os.path.abspath(path).lstrip("/")
    try:
        length = len(os.fsencode(path))
    except UnicodeEncodeError:
        raise AddressError(repr(text), "the path cannot be encoded for the file system") from None
    if length > PATH_LIMIT:
        raise AddressError(text, f"the path has {length} bytes, a socket's path can have {PATH_LIMIT}")
    return path


_PATHS: Final = {"unix": _unix_path, "pipe": _pipe_name, "memory": _memory_name}


def _app_name() -> str:
    app = os.environ.get("MAINBUS_APP") or "default"
    if "/" in app or "\\" in app or app in {".", ".."}:
        raise AddressError(app, "MAINBUS_APP must be a plain file name")
    return app


def _default_folder() -> str:
    # Of another user (su, sudo) or removed (logged out) it is as good as not set; a relative one is to be ignored.
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.path.isabs(runtime):
        try:
            status = os.stat(runtime)
        except OSError:
            return _fallback_folder()
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            return os.path.join(runtime, "mainbus")
    return _fallback_folder()


def _fallback_folder() -> str:
    return os.path.join(tempfile.gettempdir(), _fallback_name())


def _fallback_name() -> str:
    return f"{_FALLBACK}{os.geteuid()}"


def _fault_of(status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISDIR(status.st_mode):
        return "is no folder"
    if status.st_uid != os.geteuid():
        return f"belongs to the user with uid {status.st_uid}"
    if status.st_mode & 0o022:
        return f"is writable by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return None


def _fault_of_parent(parent: str) -> str | None:
    # Without the sticky bit others may put a folder of their own in place of ours, after every check.
    mode = os.stat(parent).st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        return f"can be replaced by others ({parent} has mode {stat.S_IMODE(mode):04o}, no sticky bit)"
    return None
