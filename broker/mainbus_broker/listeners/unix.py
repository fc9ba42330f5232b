"""Listen at a Unix socket's path, as nobody but this user can reach it and as nobody else's file is harmed."""

import asyncio
import contextlib
import logging
import os
import shlex
import socket
import stat
import sys
from collections.abc import Callable

from mainbus.address import Address, check_folder, is_default_folder
from mainbus.errors import AddressError

from mainbus_broker.listeners.identity import peer_of
from mainbus_broker.socket_lock import SocketLock

__all__ = ["UnixListener", "adopt", "listen", "prepare_folder"]

_logger = logging.getLogger(__name__)

# Connections that may wait to be accepted; the system caps it at its own limit.
_BACKLOG = 4096
# Connections accepted in one turn of the loop: asyncio would take as many as may wait, and where descriptors run out
# try in vain as often, with a line in the log for each.
_ACCEPTED = 8

_KINDS = {
    stat.S_IFREG: "a regular file",
    stat.S_IFDIR: "a folder",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class UnixListener:
    """A listener at a path; see `Listener`.

    Args:
        address: the address really bound.
        server: accepts.
        path: removed at the end; None if somebody else made the socket.
        lock: released at the end; None as above.
    """

    __slots__ = ("_lock", "_path", "_server", "address")

    def __init__(
        self, address: Address, server: asyncio.AbstractServer, path: "_SocketPath | None", lock: SocketLock | None
    ) -> None:
        self.address = address
        self._server = server
        self._path = path
        self._lock = lock

    def stop_accepting(self) -> None:
        """Accept nothing any more; see `Listener`."""
        self._server.close()

    async def aclose(self) -> None:
        """Stop accepting, remove the path, release the lock; see `Listener`."""
        self.stop_accepting()
        # The lock last: whoever gets it finds the path free.
        if self._path is not None:
            self._path.remove()
        if self._lock is not None:
            self._lock.release()


async def listen(address: Address, protocol_factory: Callable[[], asyncio.Protocol]) -> UnixListener:
    """Lock, probe, bind, serve; see `mainbus_broker.listeners.listen`."""
    prepare_folder(address)
    async with contextlib.AsyncExitStack() as undo:
        lock = await SocketLock.acquire(address)
        undo.callback(lock.release)
        try:
            _clear(address)
            sock = undo.enter_context(_bind(address.path))
            path = _SocketPath(address.path)
        except OSError as error:
            raise AddressError(str(address), f"cannot listen there: {error.strerror or error}") from error
        undo.callback(path.remove)
        server = await _serve(protocol_factory, sock)
        undo.pop_all()
    return UnixListener(address, server, path, lock)


async def adopt(
    address: Address, protocol_factory: Callable[[], asyncio.Protocol], sock: socket.socket
) -> UnixListener:
    """Serve a listening socket that somebody else made; see `mainbus_broker.listeners.listen`."""
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise AddressError(str(address), "the socket that was handed over is no Unix stream socket")
    if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise AddressError(str(address), "the socket that was handed over does not listen")
    path = sock.getsockname()
    if not isinstance(path, str) or not path:
        # Abstract ones come as bytes.
        raise AddressError(str(address), "the socket that was handed over has no path, so no file permissions")
    return UnixListener(Address("unix", os.path.abspath(path)), await _serve(protocol_factory, sock), None, None)


def prepare_folder(address: Address) -> None:
    """Make the default folder if it is missing, for this user alone. Other folders are their user's to make.

    Raises:
        AddressError: the folder is missing, or cannot be made, or a default folder may be somebody else's.
    """
    folder = os.path.dirname(address.path)
    if is_default_folder(folder):
        try:
            # Where it exists, check_folder says whether it will do.
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
        except OSError as error:
            raise AddressError(str(address), f"cannot make its folder: {error.strerror}") from error
    elif not os.path.exists(folder):
        remedy = f"`mkdir -p -m 700 {shlex.quote(folder)}` makes it"
        raise AddressError(str(address), f"the folder {folder} does not exist; {remedy}")
    check_folder(address)


class _SocketPath:
    """A path that names a socket, removed only while it names that very one."""

    __slots__ = ("_fd", "_path", "_status")

    def __init__(self, path: str) -> None:
        self._path = path
        self._status = os.lstat(path)
        # Held open where that is possible: the file system gives the number of an inode that is gone to the next
        # file, so without this a stranger's new socket could look like ours. -1 elsewhere and once removed.
        self._fd = -1
        if sys.platform == "linux":
            self._fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            self._status = os.fstat(self._fd)

    @property
    def kind(self) -> int:
        return stat.S_IFMT(self._status.st_mode)

    def remove(self) -> None:
        """Remove the path if it still names the socket, and let go of it."""
        try:
            if os.path.samestat(self._status, os.lstat(self._path)):
                os.unlink(self._path)
        except FileNotFoundError:
            pass
        except OSError as error:
            _logger.warning("cannot remove the socket %s: %s", self._path, error.strerror)
        self.forget()

    def forget(self) -> None:
        """Let go of the path and leave it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _clear(address: Address) -> None:
    """Remove a socket that nobody answers at; refuse anything else that is in the way."""
    try:
        path = _SocketPath(address.path)
    except FileNotFoundError:
        return
    try:
        if path.kind != stat.S_IFSOCK:
            what = _KINDS.get(path.kind, "something else")
            raise AddressError(str(address), f"there is {what} at the path, which is left alone")
        if _is_stale(address):
            path.remove()
    finally:
        path.forget()


def _is_stale(address: Address) -> bool:
    """Say whether nobody listens at a socket; if somebody does, refuse the address."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(address.path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except BlockingIOError:
            # Its queue of connections is full.
            raise AddressError(str(address), "in use by another program") from None
        # It has no lock, so it is none of ours or somebody removed the lock file.
        raise AddressError(str(address), "in use by another program", pid=peer_of(probe).pid or None)


def _bind(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if sys.platform == "linux":
            # The kernel makes the path with the mode of the socket itself, so there is no moment with a wider one,
            # and no other thread's files are made with a umask of ours.
            os.fchmod(sock.fileno(), 0o600)
            sock.bind(path)
        else:
            umask = os.umask(0o177)
            try:
                sock.bind(path)
            finally:
                os.umask(umask)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


async def _serve(protocol_factory: Callable[[], asyncio.Protocol], sock: socket.socket) -> asyncio.AbstractServer:
    loop = asyncio.get_running_loop()
    # asyncio never gets the path: it would unlink whatever socket is there before it binds, and, unless told
    # otherwise, what is there when it closes.
    if sys.version_info >= (3, 13):
        server = await loop.create_unix_server(
            protocol_factory, sock=sock, backlog=_ACCEPTED, start_serving=False, cleanup_socket=False
        )
    else:
        server = await loop.create_unix_server(protocol_factory, sock=sock, backlog=_ACCEPTED, start_serving=False)
    try:
        await server.start_serving()
        # To asyncio both numbers are the same one.
        sock.listen(_BACKLOG)
    except BaseException:
        server.close()
        raise
    return server
