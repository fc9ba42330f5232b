"""The daemon's log: lines for people on a terminal, JSON lines otherwise; on standard error."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TextIO

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every record has; anything else was given as `extra`."""


DETAIL: Final = "mainbus_detail"
"""The name of an extra that says the others in words: it follows the message where those are not shown."""


class LogLevel(StrEnum):
    """From which level on messages are logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """What a line of the log looks like."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


def configure(
    level: LogLevel = LogLevel.INFO, log_format: LogFormat = LogFormat.AUTO, stream: TextIO | None = None
) -> None:
    """Log everything in this process to one stream: mainbus' loggers and the application's own.

    Args:
        level: The least level that is logged.
        log_format: AUTO: text if the stream is a terminal, else JSON.
        stream: Where to; None is standard error.
    """
    stream = sys.stderr if stream is None else stream
    as_text = log_format is LogFormat.TEXT or (log_format is LogFormat.AUTO and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)


class TextFormatter(logging.Formatter):
    """One line for people: time, level, message; the logger's name where it is not mainbus'. A traceback follows."""

    default_time_format = "%H:%M:%S"
    default_msec_format = "%s.%03d"

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and the lines of a traceback."""
        name = "" if record.name.partition(".")[0] in ("mainbus", "mainbus_broker") else f"{record.name}: "
        detail = getattr(record, DETAIL, None)
        text = f"{name}{record.getMessage()}{'' if detail is None else f' {detail}'}"
        line = f"{self.formatTime(record)} {record.levelname:<7} {visible(text)}"
        trace = _trace(self, record)
        return f"{line}\n{visible(trace, keep=chr(10))}" if trace else line


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, the extra fields, and the traceback as exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line: ASCII only."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _OWN and name != DETAIL:
                entry.setdefault(name, value)
        if trace := _trace(self, record):
            entry["exception"] = trace
        try:
            return json.dumps(entry, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            # Only an extra can be something that JSON has not; it is as good as its text.
            return json.dumps({name: v if isinstance(v, str | int | None) else repr(v) for name, v in entry.items()})


def visible(text: str, keep: str = "") -> str:
    """Return text with all that a terminal might act upon as escapes: names and messages come from others.

    Args:
        text: What is to be printed.
        keep: Characters to leave as they are, beside the printable ones.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else json.dumps(char)[1:-1] for char in text)


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info and record.exc_info[0] else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)
