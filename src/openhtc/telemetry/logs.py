"""Structured logs on standard error, for our own events and those of the libraries."""

import logging
import sys
from typing import Any

import structlog

from openhtc.domain.errors import SettingsError

LEVELS = ("debug", "info", "warning", "error")


def configure(level: str, json: bool) -> None:
    """Log events of ``level`` (a name of LEVELS) and above to standard error, times in ISO UTC.

    json chooses one JSON object a line, else text for people. Libraries that use the standard logging
    module appear in the same form, from warning on. Raises SettingsError for a level that does not exist.
    """
    if level.lower() not in LEVELS:
        raise SettingsError(f"log_level is {level!r}: expected one of {', '.join(LEVELS)}")
    number = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors()
    final: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if not json:
        final = [_for_people()]
    structlog.configure(
        processors=[*shared, *final],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    _adopt_standard_logging(max(number, logging.WARNING), shared, final)


def _for_people() -> Any:
    """Plain tracebacks: the rich ones print every frame's local variables, secrets among them."""
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _shared_processors() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]


def _adopt_standard_logging(number: int, shared: list[Any], final: list[Any]) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
