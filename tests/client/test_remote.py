"""Exceptions from descriptions: built-in classes, registered classes, hostile descriptions."""

import abc
import errno
import traceback
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mainbus import remote
from mainbus.errors import BUILT_IN, BadMessage, MainbusError, NoHandlerError, RemoteError
from mainbus.remote import describe, rebuild, register_error, remote_error

EXCLUDED = [
    StopIteration,
    StopAsyncIteration,
    ConnectionError,
    ConnectionResetError,
    BrokenPipeError,
    KeyboardInterrupt,
]


def failing(cls: type[Exception]) -> Exception:
    """An instance as Python itself would make it."""
    if cls is UnicodeDecodeError:
        return UnicodeDecodeError("utf-8", b"ab\xff", 2, 3, "invalid start byte")
    if cls is UnicodeEncodeError:
        return UnicodeEncodeError("utf-8", "ab\ud800", 2, 3, "surrogates not allowed")
    if cls is UnicodeTranslateError:
        return UnicodeTranslateError("abc", 2, 3, "no")
    return cls("some error")


# -- 5.1, 5.3: what a caller gets ----------------------------------------------------------------------------------


@pytest.mark.contract("5.1", "5.3")
@pytest.mark.parametrize("cls", BUILT_IN.values())
def test_built_in_is_caught_as_itself(cls: type[Exception]) -> None:
    original = failing(cls)
    text = str(original).replace("\ud800", "?")
    with pytest.raises(cls) as caught:
        raise remote_error("x", describe(original))
    error = caught.value
    assert isinstance(error, RemoteError)
    assert str(error) == f"Error invoking remote method 'x': {cls.__name__}: {text}"
    assert error.args == (str(error),)
    assert (error.channel, error.type_name, error.remote_message) == ("x", cls.__name__, text)
    assert type(error) is type(remote_error("y", describe(original))), "made once"
    assert str(error) in "".join(traceback.format_exception(error))


@pytest.mark.contract("5.3")
@pytest.mark.parametrize("cls", EXCLUDED)
def test_excluded_is_a_remote_error_only(cls: type[BaseException]) -> None:
    error = remote_error("x", describe(cls("some error")))
    assert type(error) is RemoteError
    assert str(error) == f"Error invoking remote method 'x': {cls.__name__}: some error"


@pytest.mark.contract("5.3")
def test_os_error_carries_its_fields() -> None:
    original = FileNotFoundError(errno.ENOENT, "No such file", "/a")
    with pytest.raises(FileNotFoundError) as caught:
        raise remote_error("x", describe(original))
    error = caught.value
    assert (error.errno, error.strerror, error.filename) == (errno.ENOENT, "No such file", "/a")
    assert str(error) == f"Error invoking remote method 'x': FileNotFoundError: {original}"


def test_unicode_error_carries_its_fields() -> None:
    error = remote_error("x", describe(failing(UnicodeDecodeError)))
    assert isinstance(error, UnicodeDecodeError)
    assert (error.encoding, error.object, error.start, error.end, error.reason) == (
        "utf-8", b"ab\xff", 2, 3, "invalid start byte",
    )  # fmt: skip


def test_key_error_has_electrons_text() -> None:
    error = remote_error("x", describe(KeyError("k")))
    assert isinstance(error, KeyError)
    assert str(error) == "Error invoking remote method 'x': KeyError: 'k'"


@pytest.mark.contract("5.1")
def test_details_cross() -> None:
    original = RuntimeError("outer")
    original.__cause__ = ValueError("inner")
    original.__cause__.__cause__ = StopIteration("innermost")
    original.code, original.data = "E_FAIL", {"at": [1, 2.5, None]}  # type: ignore[attr-defined]
    original.add_note("look here")
    error = remote_error("x", describe(original, traceback=True))
    assert (error.code, error.data, error.notes) == ("E_FAIL", {"at": [1, 2.5, None]}, ("look here",))
    assert error.__notes__ == ["look here"]
    assert type(error.cause) is ValueError
    assert error.__cause__ is error.cause
    assert str(error.cause) == "inner"
    innermost = error.cause.__cause__
    assert type(innermost) is RemoteError
    assert str(innermost) == "StopIteration: innermost"
    assert error.remote_traceback is not None
    assert "RuntimeError: outer" in error.remote_traceback


@pytest.mark.contract("5.1")
def test_no_traceback_unless_asked_for() -> None:
    assert remote_error("x", describe(ValueError())).remote_traceback is None


def test_an_error_of_mainbus_arrives_named() -> None:
    error = remote_error("outer", describe(NoHandlerError("inner")))
    assert type(error) is RemoteError
    assert str(error) == f"Error invoking remote method 'outer': NoHandlerError: {NoHandlerError('inner')}"


# -- 4.3: exceptions as values -------------------------------------------------------------------------------------


@pytest.mark.contract("4.3")
@pytest.mark.parametrize("cls", BUILT_IN.values())
def test_value_of_a_built_in_class_arrives_as_itself(cls: type[Exception]) -> None:
    original = failing(cls)
    original.__cause__ = KeyError("k")
    original.code = 7  # type: ignore[attr-defined]
    original.add_note("note")
    arrived = rebuild(describe(original))
    assert type(arrived) is cls
    if cls is UnicodeEncodeError:  # the surrogate has become a question mark
        assert isinstance(arrived, UnicodeEncodeError)
        assert arrived.object == "ab?"
    else:
        assert str(arrived) == str(original)
        assert arrived.args == original.args
    assert repr(arrived.__cause__) == "KeyError('k')"
    assert arrived.code == 7  # type: ignore[attr-defined]
    assert arrived.__notes__ == ["note"]


@pytest.mark.contract("4.3")
def test_value_of_another_class_is_a_remote_error() -> None:
    class Custom(ValueError):
        pass

    arrived = rebuild(describe(Custom("m")))
    assert type(arrived) is RemoteError
    assert (arrived.channel, arrived.type_name, str(arrived)) == (None, "Custom", "Custom: m")
    # Sent on, it stays what it was.
    again = rebuild(describe(arrived))
    assert isinstance(again, RemoteError)
    assert (again.channel, again.type_name, str(again)) == (None, "Custom", "Custom: m")


@pytest.mark.contract("4.3")
def test_value_of_an_os_error_keeps_its_class_whatever_errno_says() -> None:
    arrived = rebuild(describe(FileExistsError(errno.EEXIST, "File exists", "a")))
    assert type(arrived) is FileExistsError
    assert str(arrived) == f"[Errno {errno.EEXIST}] File exists: 'a'"
    assert arrived.args == (errno.EEXIST, "File exists")
    fields = {"errno": errno.ECONNRESET, "strerror": "reset"}
    assert type(rebuild({"name": "OSError", "message": "m", "os": fields})) is OSError


@pytest.mark.parametrize("cls", BUILT_IN.values())
def test_description_of_another_language_has_no_args(cls: type[Exception]) -> None:
    description = {"name": cls.__name__, "message": "some error"}
    arrived = rebuild(description)
    assert type(arrived) is cls
    assert "some error" in str(arrived)
    assert isinstance(remote_error("x", description), cls)


def test_import_error_says_its_message() -> None:
    assert str(rebuild({"name": "ImportError", "message": "m"})) == "m"
    arrived = rebuild(describe(ModuleNotFoundError("No module named 'm'", name="m")))
    assert isinstance(arrived, ModuleNotFoundError)
    assert arrived.msg == "No module named 'm'"


# -- register_error ------------------------------------------------------------------------------------------------


def refuse(*_: object, **__: object) -> None:
    raise AssertionError("the application's constructor ran")


@register_error
class Plain(Exception):
    def __new__(cls, needed: int) -> "Plain":
        return super().__new__(cls, needed)

    def __init__(self, needed: int) -> None:
        self.needed = needed

    def __str__(self) -> str:
        return "its own text"


@register_error
class Slotted(ValueError):
    __slots__ = ("code", "extra")


@register_error
class OfOS(FileNotFoundError):
    def __init__(self, needed: int) -> None:
        super().__init__(2, "strerror", f"name{needed}")


@register_error
class OfUnicode(UnicodeDecodeError):
    def __init__(self) -> None:
        super().__init__("utf-8", b"\xff", 0, 1, "reason")


@register_error
@dataclass(frozen=True)
class Frozen(Exception):
    code: int
    cause: str = "its own"


@register_error
class Abstract(Exception, abc.ABC):
    @property
    def data(self) -> object:
        return None


@register_error
class Rigid(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


INSTANCES = [Plain(1), Slotted("a"), OfOS(1), OfUnicode(), Frozen(4), Abstract(), Rigid()]


@pytest.mark.contract("5.3")
@pytest.mark.parametrize("original", INSTANCES, ids=lambda value: type(value).__name__)
def test_registered_class_arrives_without_its_constructor(original: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = type(original)
    description = describe(original)
    description |= {"cause": {"name": "ValueError", "message": "why"}, "notes": ["note"], "code": 5, "data": [6]}
    for name in ("__init__", "__new__"):
        if name in vars(cls):
            monkeypatch.setattr(cls, name, refuse)
    with pytest.raises(cls) as caught:
        raise remote_error("x", description)
    error = caught.value
    assert isinstance(error, RemoteError)
    assert str(error) == f"Error invoking remote method 'x': {cls.__name__}: {error.remote_message}".rstrip(": ")
    assert (error.code, error.data, error.notes) == (5, [6], ("note",))
    assert isinstance(error.cause, ValueError)
    assert error.__cause__ is error.cause
    value = rebuild(description)
    assert isinstance(value, cls)
    assert isinstance(value, RemoteError)
    assert value.channel is None


def test_registered_os_error_carries_its_fields() -> None:
    error = remote_error("x", describe(OfOS(1)))
    assert isinstance(error, OfOS)
    assert (error.errno, error.strerror, error.filename) == (2, "strerror", "name1")


def test_unregistered_class_is_a_remote_error() -> None:
    class Unknown(ValueError):
        pass

    assert type(remote_error("x", describe(Unknown("m")))) is RemoteError


def test_register_error_returns_the_class_and_may_be_repeated() -> None:
    assert register_error(Plain) is Plain
    assert isinstance(remote_error("x", describe(Plain(1))), Plain)


def test_a_name_has_one_class() -> None:
    other = type("Plain", (Exception,), {"__module__": "elsewhere"})
    with pytest.raises(ValueError, match=r"The name 'Plain' belongs to .*\.Plain"):
        register_error(other)
    # Not registered, it does not pass for the one that is.
    assert remote_error("x", describe(other("m"))).type_name == "elsewhere.Plain"
    for name in ("ValueError", "CloneError"):
        with pytest.raises(ValueError, match=f"The name '{name}' belongs to"):
            register_error(type(name, (Exception,), {}))


class Unmixable(Exception):
    def __init_subclass__(cls, *, needed: int) -> None:
        super().__init_subclass__()


@pytest.mark.parametrize(
    "cls", [int, 3, KeyboardInterrupt, StopIteration, StopAsyncIteration, ExceptionGroup, MainbusError, Unmixable]
)
def test_what_cannot_be_registered(cls: object) -> None:
    with pytest.raises(TypeError):
        register_error(cls)  # type: ignore[arg-type]
    assert getattr(cls, "__name__", "") not in remote._registered


# -- hostile descriptions ------------------------------------------------------------------------------------------


def nested(depth: int) -> dict[str, object]:
    description: dict[str, object] = {"name": "ValueError", "message": "m"}
    for _ in range(depth):
        description = {"name": "ValueError", "message": "m", "cause": description}
    return description


CYCLIC: dict[str, object] = {"name": "ValueError", "message": "m"}
CYCLIC["cause"] = CYCLIC

NAMED = {"name": "ValueError", "message": "m"}
HOSTILE: list[object] = [
    None,
    [],
    "text",
    {},
    {"name": "ValueError"},
    {"message": "m"},
    {"name": 1, "message": "m"},
    {"name": "ValueError", "message": b"m"},
    NAMED | {"notes": "n"},
    NAMED | {"notes": [1]},
    NAMED | {"traceback": 1},
    NAMED | {"os": []},
    NAMED | {"os": {"errno": "2"}},
    NAMED | {"os": {"errno": 2**40}},
    NAMED | {"os": {"errno": True}},
    NAMED | {"os": {"args": ()}},
    NAMED | {"os": {("a",): 1}},
    NAMED | {"args": "m"},
    NAMED | {"cause": "m"},
    NAMED | {"cause": {}},
    CYCLIC,
    nested(17),
    *(
        {"name": name, "message": "m", "args": args}
        for name, args in [
            ("UnicodeDecodeError", []),
            ("UnicodeDecodeError", ["utf-8", b"abc", -1_000_000, -999_999, "r"]),
            ("UnicodeDecodeError", ["utf-8", b"abc", 2**70, 2**70 + 1, "r"]),
            ("UnicodeDecodeError", ["utf-8", b"abc", 2, 1, "r"]),
            ("UnicodeDecodeError", ["utf-8", b"abc", 2, 4, "r"]),
            ("UnicodeDecodeError", ["utf-8", "abc", 0, 1, "r"]),
            ("UnicodeDecodeError", [b"utf-8", b"abc", 0, 1, "r"]),
            ("UnicodeDecodeError", [b"abc", 0, 1, "r"]),
            ("UnicodeEncodeError", ["utf-8", b"abc", 0, 1, "r"]),
            ("UnicodeTranslateError", ["utf-8", "abc", 0, 1, "r"]),
        ]
    ),
]


@pytest.mark.parametrize("description", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_description_is_a_bad_message(description: object) -> None:
    with pytest.raises(BadMessage):
        rebuild(description)
    with pytest.raises(BadMessage):
        remote_error("x", description)


def test_a_description_as_deep_as_describe_makes_them_is_read() -> None:
    depth, error = 0, rebuild(nested(16))
    while error.__cause__ is not None:
        depth, error = depth + 1, error.__cause__
    assert depth == 16


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=8,
)
KEYS = ["name", "message", "code", "data", "cause", "notes", "traceback", "os", "args"]


@given(st.sampled_from([*BUILT_IN, "Plain", "Frozen", "Rigid", "Other"]), st.dictionaries(st.sampled_from(KEYS), PLAIN))
def test_any_description_is_an_error_or_a_bad_message(name: str, rest: dict[str, object]) -> None:
    for description in (rest, rest | {"name": name}, rest | {"name": name, "message": "m"}):
        for make in (rebuild, lambda found: remote_error("x", found)):
            try:
                error = make(description)
            except BadMessage:
                continue
            assert isinstance(error, BaseException)
            str(error), repr(error)
            assert describe(error, traceback=True)
