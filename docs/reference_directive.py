"""The directives of the reference pages: a module's public names, from their docstrings, and the contract's rules."""

import importlib
import inspect
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING
from pathlib import Path
from typing import Any

from docutils import nodes
from public_names import field_texts, is_described_apart, names, public
from sphinx.util.docutils import SphinxDirective

# The classes whose signature is shown; what makes the others is not their users' affair.
CALLED: set[str] = set()


class PublicNames(SphinxDirective):
    """Writes what autodoc is to document.

    The argument is the module, the body the names, one a line; `Broker()` is a class that its users call.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the documentation of the names."""
        module = self.arguments[0]
        found = names(importlib.import_module(module))
        lines = [line for name in self.content for line in _autodoc(module, name, found[name.removesuffix("()")])]
        return self.parse_text_to_nodes("\n".join(["````{eval-rst}", *lines, "````"]))


class ContractRules(SphinxDirective):
    """Writes the rules of tests/contract.toml, a table for each section."""

    def run(self) -> list[nodes.Node]:
        """Return the tables."""
        path = Path(__file__).parents[1] / "tests" / "contract.toml"
        self.env.note_dependency(str(path))
        lines: list[str] = []
        for section, rules in tomllib.loads(path.read_text(encoding="utf-8")).items():
            lines += [
                f"## {section.replace('-', ' ').capitalize()}",
                "",
                "| rule | says | to come |",
                "| --- | --- | --- |",
            ]
            lines += [f"| {number} | {rule['says']} | {_to_come(rule)} |" for number, rule in rules.items()]
            lines.append("")
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def _to_come(rule: dict[str, Any]) -> str:
    return str(rule.get("later", "")) if rule["built"] else "all of it"


def _default(cls: type, member: str) -> Iterator[str]:
    """Have the default of a dataclass' field shown, in place of its type with the range in it."""
    if field := getattr(cls, "__dataclass_fields__", {}).get(member):
        value = f"{type(getattr(cls(), member)).__name__}()" if field.default is MISSING else repr(field.default)
        yield f"      :annotation: = {value}"


def _autodoc(module: str, name: str, item: Any) -> Iterator[str]:
    if inspect.ismodule(item):
        yield from (f".. automodule:: {module}.{name}", "   :members:")
    elif not inspect.isclass(item):
        yield f".. autofunction:: {module}.{name}"
    elif issubclass(item, BaseException):
        yield from (f".. autoexception:: {module}.{name}", "   :show-inheritance:")
    else:
        if name.endswith("()"):
            name = name.removesuffix("()")
            CALLED.add(f"{module}.{name}")
        yield f".. autoclass:: {module}.{name}"
        fields = field_texts(item)
        for member, value in public(item):
            if is_described_apart(value) or member in fields:
                kind = "attribute" if member in fields else "property" if isinstance(value, property) else "method"
                yield from ("", f"   .. auto{kind}:: {module}.{name}.{member}", *_default(item, member))
    yield ""
