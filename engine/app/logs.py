"""Sets up the log: structured, to standard error, as JSON lines or for people."""

import logging
import sys

import structlog

from engine.ports.errors import ConfigError

FORMATS = ("console", "json")


def set_up_logs(form: str) -> None:
    """Choose the form of the log: `console` or `json`.

    Raises:
        ConfigError: another form was asked for.
    """
    if form not in FORMATS:
        raise ConfigError(f"log_format is {form!r}; it must be one of {', '.join(FORMATS)}")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
