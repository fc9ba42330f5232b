"""The `mainbus` command: one file a subcommand."""

from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: The command line without the program; None is that of this process.

    Returns:
        The exit code; docs/reference/command-line.md lists them.
    """
    try:
        # Most of the time until something is seen; Ctrl-C is no error in it either.
        from mainbus_broker.cli import command
    except KeyboardInterrupt:
        return _INTERRUPTED
    return command.main(arguments)
