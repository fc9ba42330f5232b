"""Which names are public: what the packages export, and of their classes what is not listed here as internal."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import mainbus
import mainbus.blocking
import mainbus.testing
import mainbus_broker

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
TESTING = {"broker": mainbus.testing.broker, "Bus": mainbus.testing.Bus}


def names(module: ModuleType) -> dict[str, Any]:
    """Return what a module exports, by name."""
    return TESTING if module is mainbus.testing else {name: getattr(module, name) for name in module.__all__}


def exported() -> Iterator[tuple[str, Any]]:
    """Yield every public name. A class of `mainbus.blocking` that has a twin in `mainbus` is "blocking.MessagePort"."""
    for module in (mainbus, mainbus_broker, mainbus.blocking, mainbus.testing):
        for name, item in names(module).items():
            is_twin = module is mainbus.blocking and inspect.isclass(item) and name in mainbus.__all__
            yield f"blocking.{name}" if is_twin else name, item


def public(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield the public members that a class or one of our bases defines, its fields and slots included."""
    found: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("mainbus"):
            found |= dict.fromkeys((*vars(base), *getattr(base, "__annotations__", ())))
    for name in found:
        if not name.startswith("_") and name not in INTERNAL.get(cls.__name__, ()):
            yield name, inspect.getattr_static(cls, name, None)


def field_texts(cls: type) -> dict[str, str]:
    """Return what stands below the fields of a class, by field."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except OSError:
        return {}
    assert isinstance(tree, ast.ClassDef)
    pairs = zip(tree.body, tree.body[1:], strict=False)
    return {
        field.target.id: text.value.value
        for field, text in pairs
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def is_described_apart(member: object) -> bool:
    """Tell whether a member has a docstring of its own; other ones are described in that of their class."""
    return inspect.isroutine(member) or isinstance(member, property | classmethod)


def shown(name: str, function: Any) -> str:
    """Write a signature as the pages do: names and defaults, no types."""
    parameters: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not any(part.startswith("*") for part in parameters):
            parameters.append("*")
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f"={parameter.default!r}"
        parameters.append(f"{star}{parameter.name}{default}".replace("'", '"'))
    return f"{name}({', '.join(parameters)})"
