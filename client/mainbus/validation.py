"""Annotated parameters of a listener or handler: whether what was sent fits them, and what is made of it.

msgspec checks, strictly. What structured clone delivers as the annotation says is passed on itself, so that shared
references and cycles stay what they are; what it never delivers (a dataclass, a Struct, an enum, a tuple) is built.
"""

import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin
from uuid import UUID

import msgspec
from msgspec import inspect as shapes

__all__ = ["Misfit", "Parameters", "parameters_of"]

MAX_SAID: Final = 300
"""Characters of an explanation at most: it may quote what was sent."""

_NATIVE: Final = (bytes, datetime, date, Decimal, UUID)
"""What arrives as itself beside the types of JSON: no text is taken for one of these."""

_EXACT: Final = frozenset({bool, int, float, str, bytes, list, dict, set, type(None)})
"""Annotations that an exact look at the type answers."""

_KEPT: Final = (
    shapes.AnyType,
    shapes.NoneType,
    shapes.BoolType,
    shapes.IntType,
    shapes.FloatType,
    shapes.StrType,
    shapes.BytesType,
    shapes.DateTimeType,
    shapes.DateType,
    shapes.DecimalType,
    shapes.UUIDType,
    shapes.LiteralType,
    shapes.ListType,
    shapes.SetType,
    shapes.DictType,
    shapes.TypedDictType,
    shapes.UnionType,
    shapes.CustomType,
    shapes.Metadata,
    shapes.Field,
)
"""What a type may be made of whose values arrive as themselves."""

_WITH_FIELDS: Final = (shapes.DataclassType, shapes.StructType, shapes.TypedDictType, shapes.NamedTupleType)

_WHERE: Final = " - at "


class Misfit(Exception):
    """What was sent does not fit a parameter.

    Args:
        parameter: its name.
        path: where it is wrong, from the parameter on, as Python would write it: ``doc.pages[1]``.
        reason: what is wrong there.
    """

    def __init__(self, parameter: str, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.parameter = parameter
        self.path = path


class Parameters:
    """Those parameters of one callable that are annotated.

    Args:
        positional: each with its place among the arguments.
        first_rest: the place of the first argument that goes into ``*rest``.
        rest: the parameter ``*rest``; None if there is none, or it is not annotated.
    """

    __slots__ = ("_first_rest", "_positional", "_rest")

    def __init__(self, positional: Sequence[tuple[int, "_Parameter"]], first_rest: int, rest: "_Parameter | None"):
        self._positional = positional
        self._first_rest = first_rest
        self._rest = rest

    def fit(self, args: Sequence[object]) -> Sequence[object]:
        """Return the arguments as the callable gets them.

        Raises:
            Misfit: one does not fit.
        """
        fitting = list(args)
        for index, parameter in self._positional:
            if index < len(fitting):
                fitting[index] = parameter.fit(fitting[index])
        if self._rest is not None:
            for index in range(self._first_rest, len(fitting)):
                fitting[index] = self._rest.fit(fitting[index], f"[{index - self._first_rest}]")
        return fitting


def parameters_of(function: Callable[..., Any], parameters: Sequence[inspect.Parameter]) -> Parameters | None:
    """Resolve what is annotated; None if nothing is.

    Args:
        function: where the callable is defined, for what its annotations name.
        parameters: what can be passed by place, without the event.

    Raises:
        TypeError: an annotation that cannot be resolved, or that nothing can be checked against.
    """
    rest = None
    positional = []
    for index, parameter in enumerate(parameters):
        annotation = _resolved(function, parameter)
        if _is_free(annotation):
            continue
        checked = _Parameter(parameter.name, annotation)
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest = checked
        else:
            positional.append((index, checked))
    if rest is None and not positional:
        return None
    return Parameters(positional, len(parameters) - 1, rest)


class _Shape(NamedTuple):
    """A type that msgspec can check a value against, in a Struct of its own, which remembers what it has found out."""

    struct: type[msgspec.Struct]
    builds: bool
    """Whether some of it never arrives as itself."""


class _Parameter:
    """One annotated parameter."""

    __slots__ = ("_exact", "_shapes", "name")

    def __init__(self, name: str, annotation: Any) -> None:
        self.name = name
        self._exact = annotation if isinstance(annotation, type) and annotation in _EXACT else None
        try:
            self._shapes = _shapes_of(annotation)
        except Exception as error:
            # Whatever it is: annotations are the user's code.
            said = annotation.__qualname__ if isinstance(annotation, type) else annotation
            raise TypeError(f"parameter {name!r} cannot be checked against {said}: {error}") from error

    def fit(self, value: Any, at: str = "") -> object:
        """Return a value as the callable gets it. `at`: where it is, in a parameter of several."""
        if type(value) is self._exact:
            return value
        faults = []
        for shape in self._shapes:
            try:
                made = msgspec.convert((value,), shape.struct, builtin_types=_NATIVE, dec_hook=_as_is)
            except msgspec.ValidationError as error:
                faults.append(_parted(str(error)))
            except RecursionError:
                faults.append(("", "it is nested too deep, or contains itself"))
            except Exception as error:  # noqa: BLE001 - a class that is built runs the user's code
                faults.append(("", f"{type(error).__name__}: {error}"))
            else:
                found: object = made.value  # type: ignore[attr-defined]
                return found if shape.builds or type(found) is not type(value) else value
        path, reason = faults[0][0], "; or ".join(dict.fromkeys(reason for _, reason in faults))
        said = reason if len(reason) <= MAX_SAID else reason[:MAX_SAID] + "..."
        raise Misfit(self.name, f"{self.name}{at}{path}", said)


def _shapes_of(annotation: Any) -> list[_Shape]:
    """Return what a value must fit one of: the annotation, or its members if it is a union that msgspec does not do."""
    try:
        return [_shape_of(annotation)]
    except TypeError:
        if get_origin(annotation) not in (Union, types.UnionType):
            raise
    return [_shape_of(member) for member in get_args(annotation)]


def _shape_of(annotation: Any) -> _Shape:
    struct = msgspec.defstruct("Argument", [("value", annotation)], array_like=True)
    nodes = list(_nodes(shapes.type_info(annotation), set()))
    for hint in _hints(annotation, nodes):
        info = shapes.type_info(hint)
        if isinstance(info, shapes.CustomType):
            if get_args(hint):
                raise TypeError(f"{hint} is no class")
            # A class, but maybe one that `isinstance` does not take.
            isinstance(None, info.cls)
    return _Shape(struct, not all(isinstance(node, _KEPT) for node in nodes))


def _nodes(node: object, seen: set[int]) -> Iterator[object]:
    """Yield all that a type is made of."""
    if isinstance(node, tuple):
        for item in node:
            yield from _nodes(item, seen)
    elif isinstance(node, shapes.Type | shapes.Field) and id(node) not in seen:
        seen.add(id(node))
        yield node
        for name in node.__struct_fields__:
            yield from _nodes(getattr(node, name), seen)


def _hints(annotation: Any, nodes: Iterable[object]) -> Iterator[Any]:
    """Yield an annotation and all that stand in it, and in the classes with fields that it is made of."""
    yield from _parts(annotation)
    for node in nodes:
        if isinstance(node, _WITH_FIELDS):
            for hint in typing.get_type_hints(node.cls, include_extras=True).values():
                yield from _parts(hint)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield what msgspec checks by its class, and what that may stand in."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _parts(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _parts(member)
    elif isinstance(annotation, type) or isinstance(origin, type):
        yield annotation
        for part in get_args(annotation):
            yield from _parts(part)


def _as_is(cls: type, value: object) -> object:
    if isinstance(value, cls):
        return value
    raise TypeError(f"Expected `{cls.__name__}`, got `{type(value).__name__}`")


def _parted(said: str) -> tuple[str, str]:
    """Return the path below the value, and the reason, of what msgspec says."""
    reason, _, where = said.rpartition(_WHERE)
    # "`$[0].a`", or "`key` in `$[0].a`"; the first place is that in the Struct.
    path = where.rpartition("`$[0]")[2].removesuffix("`")
    return path, f"{reason} as a key" if where.startswith("`key`") else reason


def _is_free(annotation: object) -> bool:
    """Whether an annotation says nothing about what may be passed."""
    # Type checkers resolve a ParamSpec and a TypeVarTuple; at run time they stand for anything.
    variadic = typing.ParamSpecArgs | typing.TypeVarTuple
    return (
        annotation in (inspect.Parameter.empty, Any, object)
        or isinstance(annotation, variadic)
        or (get_origin(annotation) is typing.Unpack and isinstance(get_args(annotation)[0], variadic))
    )


def _resolved(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    annotation = parameter.annotation
    if annotation is parameter.empty:
        return annotation
    # One at a time: what the event or the result is annotated with may well exist for type checkers only.
    holder = types.SimpleNamespace(__annotations__={parameter.name: annotation})
    known = {variable.__name__: variable for variable in getattr(function, "__type_params__", ())}
    known |= getattr(function, "__globals__", {})
    try:
        return typing.get_type_hints(holder, known, include_extras=True)[parameter.name]
    except Exception as error:
        raise TypeError(f"parameter {parameter.name!r} cannot be checked against {annotation!r}: {error}") from error
