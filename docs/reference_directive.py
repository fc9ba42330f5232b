"""The directive of the reference pages: names of a module, each with its public members, from their docstrings."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from public_names import is_described_apart, names, public, shown
from sphinx.util.docutils import SphinxDirective


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


def _autodoc(module: str, name: str, item: Any) -> Iterator[str]:
    if inspect.ismodule(item):
        yield from (f".. automodule:: {module}.{name}", "   :members:")
    elif not inspect.isclass(item):
        yield f".. autofunction:: {module}.{name}"
    elif issubclass(item, BaseException):
        yield from (f".. autoexception:: {module}.{name}", "   :show-inheritance:")
    else:
        called = name.endswith("()")
        yield f".. autoclass:: {module}.{shown(name.removesuffix('()'), item) if called else name}"
        for member, value in public(item):
            if is_described_apart(value):
                kind = "property" if isinstance(value, property) else "method"
                yield from ("", f"   .. auto{kind}:: {module}.{name.removesuffix('()')}.{member}")
    yield ""
