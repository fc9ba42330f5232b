"""What Windows says about users and named pipes. Only there it can be imported; transports and listeners use it."""

import ctypes
import sys
from ctypes import wintypes
from functools import cache
from typing import Any, Final

assert sys.platform == "win32"

__all__ = [
    "ACCESS_DENIED",
    "OWNER",
    "SecurityAttributes",
    "client_of",
    "current_user",
    "descriptor_of",
    "executable_of",
    "owner_of",
    "server_of",
    "user_of",
]

OWNER: Final = 1
DACL: Final = 4
"""Parts of a security descriptor."""

ACCESS_DENIED: Final = 5
_SDDL_REVISION: Final = 1
_TOKEN_QUERY: Final = 8
_TOKEN_USER: Final = 1
_QUERY_LIMITED: Final = 0x1000
_LONGEST_PATH: Final = 32768
# A TOKEN_USER and the longest SID, with room to spare; the same for a descriptor, which may have many entries.
_TOKEN_SIZE: Final = 256
_DESCRIPTOR_SIZE: Final = 65536

_kernel = ctypes.WinDLL("kernel32", use_last_error=True)
_advapi = ctypes.WinDLL("advapi32", use_last_error=True)

_DWORDS = ctypes.POINTER(wintypes.DWORD)
_TEXT = ctypes.POINTER(wintypes.LPWSTR)
_POINTERS = ctypes.POINTER(ctypes.c_void_p)


def _function(library: ctypes.WinDLL, name: str, *parameters: Any, result: Any = wintypes.BOOL) -> Any:
    function = getattr(library, name)
    function.argtypes = parameters
    function.restype = result
    return function


_close = _function(_kernel, "CloseHandle", wintypes.HANDLE)
_free = _function(_kernel, "LocalFree", ctypes.c_void_p, result=ctypes.c_void_p)
_current_process = _function(_kernel, "GetCurrentProcess", result=wintypes.HANDLE)
_open_process = _function(_kernel, "OpenProcess", wintypes.DWORD, wintypes.BOOL, wintypes.DWORD, result=wintypes.HANDLE)
_image_name = _function(
    _kernel, "QueryFullProcessImageNameW", wintypes.HANDLE, wintypes.DWORD, wintypes.LPWSTR, _DWORDS
)
_pipe_client = _function(_kernel, "GetNamedPipeClientProcessId", wintypes.HANDLE, _DWORDS)
_pipe_server = _function(_kernel, "GetNamedPipeServerProcessId", wintypes.HANDLE, _DWORDS)
_open_token = _function(_advapi, "OpenProcessToken", wintypes.HANDLE, wintypes.DWORD, ctypes.POINTER(wintypes.HANDLE))
_token_information = _function(
    _advapi, "GetTokenInformation", wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD, _DWORDS
)
_sid_to_text = _function(_advapi, "ConvertSidToStringSidW", ctypes.c_void_p, _TEXT)
_text_to_descriptor = _function(
    _advapi,
    "ConvertStringSecurityDescriptorToSecurityDescriptorW",
    wintypes.LPCWSTR,
    wintypes.DWORD,
    _POINTERS,
    ctypes.c_void_p,
)
_descriptor_to_text = _function(
    _advapi,
    "ConvertSecurityDescriptorToStringSecurityDescriptorW",
    ctypes.c_void_p,
    wintypes.DWORD,
    wintypes.DWORD,
    _TEXT,
    ctypes.c_void_p,
)
_descriptor_owner = _function(
    _advapi, "GetSecurityDescriptorOwner", ctypes.c_void_p, _POINTERS, ctypes.POINTER(wintypes.BOOL)
)
_object_security = _function(
    _advapi, "GetKernelObjectSecurity", wintypes.HANDLE, wintypes.DWORD, ctypes.c_void_p, wintypes.DWORD, _DWORDS
)


class SecurityAttributes:
    """A descriptor that lets one user and SYSTEM in and nobody else; the user owns what is made with it.

    Args:
        user: The user's SID.
    """

    def __init__(self, user: str) -> None:
        # P: nothing is inherited that would let others in.
        self.text: Final = f"O:{user}D:P(A;;GA;;;{user})(A;;GA;;;SY)"
        self._descriptor = ctypes.c_void_p()
        _check(_text_to_descriptor(self.text, _SDDL_REVISION, ctypes.byref(self._descriptor), None))
        self._attributes = _Attributes(ctypes.sizeof(_Attributes), self._descriptor, False)

    @property
    def address(self) -> int:
        """Where a SECURITY_ATTRIBUTES is, for as long as this object lives."""
        return ctypes.addressof(self._attributes)

    def __del__(self) -> None:
        _free(self._descriptor)


class _Attributes(ctypes.Structure):
    _fields_ = (("length", wintypes.DWORD), ("descriptor", ctypes.c_void_p), ("inherit", wintypes.BOOL))


@cache
def current_user() -> str:
    """Return the SID of the user that this process runs as."""
    return _user_of_handle(_current_process())


def user_of(pid: int) -> str | None:
    """Return the SID of the user that a process runs as; None if it is gone or may not be asked."""
    process = _open_process(_QUERY_LIMITED, False, pid)
    if not process:
        return None
    try:
        return _user_of_handle(process)
    except OSError:
        return None
    finally:
        _close(process)


def executable_of(pid: int) -> str | None:
    """Return the path of a process' program; None if it is gone or may not be asked."""
    process = _open_process(_QUERY_LIMITED, False, pid)
    if not process:
        return None
    try:
        path = ctypes.create_unicode_buffer(_LONGEST_PATH)
        size = wintypes.DWORD(_LONGEST_PATH)
        return path.value if _image_name(process, 0, path, ctypes.byref(size)) else None
    finally:
        _close(process)


def client_of(pipe: int) -> int:
    """Return the process ID of a pipe's client; 0 if it is not known."""
    return _number(_pipe_client, pipe)


def server_of(pipe: int) -> int:
    """Return the process ID of a pipe's server; 0 if it is not known."""
    return _number(_pipe_server, pipe)


def owner_of(handle: int) -> str:
    """Return the SID of the owner of what a handle stands for. Only the owner itself, or a superuser, can set it.

    Raises:
        OSError: The system does not tell.
    """
    descriptor = _security_of(handle, OWNER)
    owner, inherited = ctypes.c_void_p(), wintypes.BOOL()
    _check(_descriptor_owner(descriptor, ctypes.byref(owner), ctypes.byref(inherited)))
    return _text_of_sid(owner)


def descriptor_of(handle: int) -> str:
    """Return owner and access list of what a handle stands for, in Windows' text form (SDDL).

    Raises:
        OSError: The system does not tell.
    """
    parts = OWNER | DACL
    text = wintypes.LPWSTR()
    _check(_descriptor_to_text(_security_of(handle, parts), _SDDL_REVISION, parts, ctypes.byref(text), None))
    return _taken(text)


def _user_of_handle(process: int) -> str:
    token = wintypes.HANDLE()
    _check(_open_token(process, _TOKEN_QUERY, ctypes.byref(token)))
    try:
        user, size = ctypes.create_string_buffer(_TOKEN_SIZE), wintypes.DWORD()
        _check(_token_information(token, _TOKEN_USER, user, _TOKEN_SIZE, ctypes.byref(size)))
        # A TOKEN_USER begins with the pointer to its SID.
        return _text_of_sid(ctypes.c_void_p.from_buffer(user))
    finally:
        _close(token)


def _security_of(handle: int, parts: int) -> Any:
    descriptor, size = ctypes.create_string_buffer(_DESCRIPTOR_SIZE), wintypes.DWORD()
    _check(_object_security(handle, parts, descriptor, _DESCRIPTOR_SIZE, ctypes.byref(size)))
    return descriptor


def _text_of_sid(sid: ctypes.c_void_p) -> str:
    text = wintypes.LPWSTR()
    _check(_sid_to_text(sid, ctypes.byref(text)))
    return _taken(text)


def _taken(text: wintypes.LPWSTR) -> str:
    """Return a text that Windows has allocated, and free it."""
    value = text.value or ""
    _free(text)
    return value


def _number(ask: Any, pipe: int) -> int:
    number = wintypes.DWORD()
    return number.value if ask(pipe, ctypes.byref(number)) else 0


def _check(succeeded: int) -> None:
    if not succeeded:
        raise ctypes.WinError(ctypes.get_last_error())
