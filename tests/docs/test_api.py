"""The API reference has every public name, and each signature as it is in the code."""

import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import mainbus
import mainbus.blocking
import mainbus.testing
import mainbus_broker
import pytest
from mainbus.renderer import EVENTS
from mainbus_broker.broker import EVENTS as BROKER_EVENTS
from mainbus_broker.web_contents import EVENTS as CONTENTS_EVENTS

from tests.checks.tree import ROOT

PAGE = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
MODULES: list[ModuleType] = [mainbus, mainbus_broker, mainbus.blocking]
TESTING = {"broker": mainbus.testing.broker, "Bus": mainbus.testing.Bus}

# What one part of mainbus needs of another, or a base class of the standard library brings.
INTERNAL = {
    "IpcMain": {"belong_to", "handler", "let_go", "listeners"},
    "IpcRenderer": {"handler", "listeners"},
    "IpcFrame": {"handler", "listeners"},
    "BlockingFrame": {"handler", "listeners"},
    "BlockingRenderer": {"handler", "home", "listeners"},
    "IpcRendererInvokeEvent": {"link"},
    "MessageEvent": {"channel"},
    "MessagePort": {"check", "closed", "deliver", "dispatch", "end", "release"},
    "Reply": {"send", "throw", "close", "give_up", "request", "route", "answered", "has_value", "is_answered"},
    "WebContents": {
        "close_frame",
        "destroyed",
        "dispatched",
        "emit",
        "frame",
        "has_used",
        "invoke_frame",
        "levels",
        "may_hear",
        "new_ipc",
        "open_frame",
        "own_registries",
        "post_to_frame",
        "registries",
        "send_encoded",
        "stream_frame",
    },
    "WebContentsRegistry": {"add", "remove"},
    "WebFrameMain": {"detach", "own_ipc"},
}


def sections(page: str = PAGE) -> dict[str, str]:
    """Part the page by its headings that name something, "### `Broker`"."""
    parts = re.split(r"^#{2,4} (.+)$", page, flags=re.M)
    return {re.split(r"[`\s]", head.lstrip("`"))[0]: text for head, text in zip(parts[1::2], parts[2::2], strict=True)}


SECTIONS = sections()


def exported() -> Iterator[tuple[str, Any]]:
    for module in MODULES:
        for name in module.__all__:
            item = getattr(module, name)
            # A class of the same name for threads has a section of its own.
            is_twin = module is mainbus.blocking and inspect.isclass(item) and name in mainbus.__all__
            yield f"blocking.{name}" if is_twin else name, item
    yield from TESTING.items()


CLASSES = {
    name: item for name, item in exported() if inspect.isclass(item) and not issubclass(item, mainbus.MainbusError)
}


def shown(name: str, function: Any) -> str:
    """Write a signature as the reference does: names and defaults, no types."""
    parameters: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parameters):
            parameters.append("*")
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        parameters.append(f"{star}{parameter.name}{default}".replace("'", '"'))
    return f"`{name}({', '.join(parameters)})`"


def public(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public members that a class or one of our bases defines, its fields and slots included."""
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("mainbus"):
            names |= dict.fromkeys((*vars(base), *getattr(base, "__annotations__", ())))
    for name in names:
        if not name.startswith("_") and name not in INTERNAL.get(cls.__name__, ()):
            yield name, inspect.getattr_static(cls, name, None)


def wanted(cls: type) -> Iterator[str]:
    for name, member in public(cls):
        if isinstance(member, classmethod):
            member = member.__get__(None, cls)
        yield shown(name, member) if inspect.isroutine(member) else f"`{name}`"


@pytest.mark.parametrize("name", [name for name, _ in exported()])
def test_every_public_name_is_there(name: str) -> None:
    assert f"`{name}`" in PAGE or f"`{name}(" in PAGE


@pytest.mark.parametrize("name", CLASSES)
def test_every_public_member_stands_in_its_section(name: str) -> None:
    # A second name of a class (Electron's in the main process) has no section of members.
    text = SECTIONS[name if "." in name else CLASSES[name].__name__]
    missing = [entry for entry in wanted(CLASSES[name]) if entry not in text]
    assert not missing


def test_every_function_has_its_signature() -> None:
    functions = [(name, item) for name, item in exported() if inspect.isfunction(item)]
    assert len(functions) == 4
    missing = [shown(name, item) for name, item in functions if shown(name, item) not in PAGE]
    assert not missing


def test_every_event_is_there() -> None:
    for events, section in ((EVENTS, "Events"), (BROKER_EVENTS, "Broker"), (CONTENTS_EVENTS, "WebContents")):
        assert not [event for event in events if f'`"{event}"`' not in SECTIONS[section]]


def test_every_error_stands_in_the_table_with_its_code() -> None:
    errors = {
        name: str(item.wire_code)
        for name, item in exported()
        if inspect.isclass(item) and issubclass(item, mainbus.MainbusError)
    }
    assert table("Errors") == errors


@pytest.mark.parametrize("cls", [mainbus_broker.Limits, mainbus_broker.Config])
def test_the_defaults_are_the_codes(cls: type[Any]) -> None:
    assert table(cls.__name__) == {name: default(getattr(cls(), name)) for name in cls.__dataclass_fields__}


def table(section: str) -> dict[str, str]:
    """Return the first two columns of a section's table."""
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", SECTIONS[section], re.M))


def default(value: object) -> str:
    match value:
        case bool():
            return f"`{value}`"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:g}"
        case _:
            return f"`{type(value).__name__}()`"
