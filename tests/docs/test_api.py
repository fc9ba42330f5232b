"""The API reference has every public name, and each signature as it is in the code."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import mainbus
import mainbus_broker
import pytest
from mainbus.renderer import EVENTS
from mainbus_broker.broker import EVENTS as BROKER_EVENTS
from mainbus_broker.web_contents import EVENTS as CONTENTS_EVENTS

from docs.public_names import exported, public, shown
from tests.checks.tree import ROOT

PAGE = (ROOT / "docs" / "reference" / "api.md").read_text(encoding="utf-8")


def sections(page: str = PAGE) -> dict[str, str]:
    """Part the page by its headings that name something, "### `Broker`"."""
    parts = re.split(r"^#{2,4} (.+)$", page, flags=re.M)
    return {re.split(r"[`\s]", head.lstrip("`"))[0]: text for head, text in zip(parts[1::2], parts[2::2], strict=True)}


SECTIONS = sections()


CLASSES = {
    name: item for name, item in exported() if inspect.isclass(item) and not issubclass(item, mainbus.MainbusError)
}


def wanted(cls: type) -> Iterator[str]:
    for name, member in public(cls):
        if isinstance(member, classmethod):
            member = member.__get__(None, cls)
        yield f"`{shown(name, member) if inspect.isroutine(member) else name}`"


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
    missing = [name for name, item in functions if f"`{shown(name, item)}`" not in PAGE]
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
