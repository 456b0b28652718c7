"""Sets up the log: structured, to standard error or to files that rotate, as JSON lines or for people."""

import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import Any

import structlog

from engine.app.config import LogConfig
from engine.ports.errors import ConfigError


def set_up_logs(config: LogConfig, folder: Path) -> None:
    """Log as configured; a relative file stands in `folder`. What other packages warn of goes the same way.

    Raises:
        ConfigError: the file cannot be written.
    """
    handler = _handler(config, folder)
    to_terminal = config.file is None and sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(sort_keys=False)
        if config.format == "json"
        else structlog.dev.ConsoleRenderer(colors=to_terminal)
    )
    steps: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
            foreign_pre_chain=steps[:-1],
        )
    )
    root = logging.getLogger()
    for known in list(root.handlers):
        root.removeHandler(known)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("arsync").setLevel(logging.INFO)
    structlog.configure(
        processors=[*steps, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: logging.getLogger("arsync"),
        cache_logger_on_first_use=False,
    )


def _handler(config: LogConfig, folder: Path) -> logging.Handler:
    if config.file is None:
        return logging.StreamHandler(sys.stderr)
    file = folder / config.file
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # What an ERP answers may name customers: for the owner's eyes only.
        os.close(os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600))
        return _Rotating(file, maxBytes=int(config.megabytes * 1_000_000), backupCount=config.keep, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"log.file {file} cannot be written: {error.strerror}") from None


class _Rotating(logging.handlers.RotatingFileHandler):
    """Each new file is the owner's alone, too."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
