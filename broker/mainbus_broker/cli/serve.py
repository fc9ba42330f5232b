"""`mainbus serve`: run a broker until a signal ends it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Final

import typer
from mainbus.errors import AddressError, ConfigError

from mainbus_broker import logs
from mainbus_broker.activation import inherited
from mainbus_broker.cli.arguments import seconds, whole
from mainbus_broker.cli.failures import ExitCode, Failure
from mainbus_broker.cli.target import load
from mainbus_broker.config import Config
from mainbus_broker.daemon import Loop, SetupFailed, run
from mainbus_broker.logs import LogFormat, LogLevel

log = logging.getLogger("mainbus.broker")

EXAMPLES: Final = """
  mainbus serve
  mainbus serve app:ipc_main --config mainbus.toml
  mainbus serve app:setup --address unix:/run/user/1000/app.sock --drain 30
"""

Target = Annotated[
    str | None,
    typer.Argument(metavar="[MODULE:ATTRIBUTE]", help="An IpcMain, or a function setup(broker), plain or async."),
]
Addresses = Annotated[
    list[str] | None,
    typer.Option("--address", "-a", metavar="ADDRESS", help="Where to listen; may be given more than once."),
]
ConfigFile = Annotated[Path | None, typer.Option("--config", "-c", metavar="FILE", help="A TOML file with settings.")]
Sockets = Annotated[
    list[int] | None,
    typer.Option(
        "--fd", metavar="N", parser=whole(0), help="A listening socket handed to this process; systemd's are found."
    ),
]
Drain = Annotated[
    float,
    typer.Option("--drain", metavar="SECONDS", parser=seconds, help="How long handlers may go on at the end."),
]
LoopChoice = Annotated[Loop, typer.Option("--loop", help="The event loop; auto: uvloop where it is installed.")]
Level = Annotated[LogLevel, typer.Option("--log-level", help="From which level on to log.")]
Format = Annotated[LogFormat, typer.Option("--log-format", help="auto: text on a terminal, else JSON lines.")]
JsonLog = Annotated[bool, typer.Option("--json", help="The same as --log-format json.")]


def serve(
    target: Target = None,
    address: Addresses = None,
    config: ConfigFile = None,
    fd: Sockets = None,
    drain: Drain = 5.0,
    loop: LoopChoice = Loop.AUTO,
    log_level: Level = LogLevel.INFO,
    log_format: Format = LogFormat.AUTO,
    as_lines: JsonLog = False,
) -> int:
    """Run a broker. Without MODULE:ATTRIBUTE it only forwards between renderers.

    SIGTERM and SIGINT end it: it accepts nothing more, lets running handlers finish, and removes its socket.
    """
    if as_lines and log_format is LogFormat.TEXT:
        raise Failure("--json and --log-format text exclude each other", ExitCode.USAGE)
    logs.configure(log_level, LogFormat.JSON if as_lines else log_format)
    try:
        settings = Config.from_toml(config) if config is not None else None
        application = load(target) if target is not None else None
        return run(
            application,
            addresses=address or (),
            sockets=inherited(fd or ()),
            config=settings,
            drain=drain,
            loop=loop,
        )
    except ConfigError as error:
        raise Failure(str(error), ExitCode.USAGE, lines=str(error).splitlines()) from error
    except AddressError as error:
        remedy = "" if error.pid is None else "; end that process, or give another --address"
        raise Failure(f"{error}{remedy}", ExitCode.UNREACHABLE) from error
    except SetupFailed as error:
        cause = error.__cause__
        assert cause is not None
        log.error("the setup function failed", exc_info=cause)
        text = f"cannot serve {target!r}: its setup raised {type(cause).__name__}: {cause}"
        raise Failure(text, ExitCode.TARGET) from error
