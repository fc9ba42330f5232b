"""The reference, which is made of docstrings, has every public name with its arguments, results and errors."""

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

from docs.public_names import exported, field_texts, is_described_apart, names, public
from tests.checks.tree import ROOT

REFERENCE = ROOT / "docs" / "reference"
LISTED = re.compile(r"^```\{public-names\} ([\w.]+)\n(.*?)^```$", re.M | re.S)
MODULES = [mainbus, mainbus_broker, mainbus.blocking, mainbus.testing]

# Under these names a page has what another page describes.
ELSEWHERE = {
    "MessageChannelMain": "mainbus-broker.md",
    "MessagePortMain": "mainbus-broker.md",
    "main_world": "mainbus.md",
}
# What raises nothing of its own, whatever it is given: it ends, takes out, or tells.
RAISES_NOTHING = {
    *("aclose", "cancel", "channels", "close", "disconnect", "drain", "from_id", "from_name", "get_all_web_contents"),
    *("is_destroyed", "listener_count", "off", "remove_all_listeners", "remove_handler", "settle", "start", "stop"),
    "broker",
}


def listed() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for page in REFERENCE.glob("*.md"):
        for module, lines in LISTED.findall(page.read_text(encoding="utf-8")):
            found.setdefault(module, set()).update(line.removesuffix("()") for line in lines.split())
    return found


def functions() -> Iterator[tuple[str, Any]]:
    """Yield every public function and method, one that several classes share once."""
    seen = set()
    for name, item in exported():
        members = public(item) if inspect.isclass(item) else [("", item)] if inspect.isroutine(item) else []
        for member, value in members:
            function = value.__func__ if isinstance(value, classmethod) else value
            if inspect.isroutine(function) and function not in seen:
                seen.add(function)
                yield f"{name}.{member}".rstrip("."), function


def attributes() -> Iterator[tuple[str, type]]:
    for name, item in exported():
        if inspect.isclass(item):
            for member, value in public(item):
                if not is_described_apart(value):
                    yield f"{name}.{member}", item


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_on_a_page(module: ModuleType) -> None:
    missing = names(module).keys() - listed()[module.__name__]
    for name in missing & ELSEWHERE.keys():
        assert f"{name}" in (REFERENCE / ELSEWHERE[name]).read_text(encoding="utf-8")
    assert missing <= ELSEWHERE.keys()


@pytest.mark.parametrize(("name", "function"), [pytest.param(*found, id=found[0]) for found in functions()])
def test_a_docstring_has_arguments_results_and_errors(name: str, function: Any) -> None:
    text, signature = inspect.getdoc(function) or "", inspect.signature(function)
    parameters = [parameter for parameter in signature.parameters if parameter not in ("self", "cls")]
    assert not [parameter for parameter in parameters if not re.search(rf"^    {parameter}: ", text, re.M)]
    if signature.return_annotation not in (None, "None"):
        assert "\nReturns:\n" in text or text.startswith("Return ")
    assert "\nRaises:\n" in text or name.rpartition(".")[2] in RAISES_NOTHING


def test_a_property_has_a_docstring() -> None:
    members = [(cls, *member) for _, cls in exported() if inspect.isclass(cls) for member in public(cls)]
    assert not [(cls, name) for cls, name, value in members if isinstance(value, property) and not value.__doc__]


@pytest.mark.parametrize(("name", "cls"), [pytest.param(*found, id=found[0]) for found in attributes()])
def test_an_attribute_is_described_with_its_class(name: str, cls: type) -> None:
    attribute = name.rpartition(".")[2]
    texts = [base.__doc__ or "" for base in cls.__mro__ if base.__module__.startswith("mainbus")]
    assert attribute in field_texts(cls) or any(
        re.search(rf"^\s+{attribute}: |`{attribute}`", text, re.M) for text in texts
    )
