"""How command lines are read: what typer has, without what takes long to import or says too much."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any, Final

from typer.core import TyperArgument, TyperCommand

_NEGATIVE: Final = re.compile(r"-(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")


class Command(TyperCommand):
    """A command whose help names its arguments by their metavars, and by nothing else."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._arguments = [param for param in self.params if isinstance(param, TyperArgument)]
        for argument in self._arguments:
            # Else it adds the type, which is Python's.
            vars(argument)["display_type"] = lambda ctx: ""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what follows the command's name in its usage line."""
        return ["[OPTIONS]", *(str(argument.metavar) for argument in self._arguments)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        lighten(self, ctx)
        return super().parse_args(ctx, args)


class MessageCommand(Command):
    """A command that takes negative numbers as arguments, where others see options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        # A blank in front changes no number, and keeps it from being read as an option.
        return super().parse_args(ctx, [f" {text}" if _NEGATIVE.fullmatch(text) else text for text in args])


def lighten(command: Any, ctx: Any) -> None:
    """Let the parameters of a command that are text, or have a parser of ours, be read without pydantic.

    Newer typers check every value with it, and to import it takes as long as all of mainbus does.
    """
    for param in command.get_params(ctx):
        described = getattr(param, "type_descriptor", None)
        if described is not None and not _is_typers(described.annotation):
            vars(param)["get_runtime_param"] = lambda parser=described.parameter_info.parser: _Text(parser)


class _Text:
    """Reads a parameter as typer would; see `lighten`."""

    def __init__(self, parser: Any) -> None:
        self._parser = parser

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        if self._parser is None:
            return list(value) if several else value
        return [self._parser(item) for item in value] if several else self._parser(value)


def _is_typers(annotation: Any) -> bool:
    """Tell whether typer makes something else than text of a value."""
    return isinstance(annotation, type) and issubclass(annotation, Enum | Path)
