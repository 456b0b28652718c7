"""Tells whoever started a process that it is ready: its process id and its ports, in a file."""

import json
import os
from pathlib import Path

import structlog

from engine.ports.errors import ConfigError

log = structlog.get_logger()


class Ready:
    """What `--ready-file` will say. `http` is the port of the AR side's HTTP, where this process serves it."""

    def __init__(self, file: str | None, port: int | None) -> None:
        self._file = Path(file) if file is not None else None
        self.port = port
        self.http: int | None = None

    def say(self, what: str) -> None:
        """Log it and write the file, whole or not at all.

        Raises:
            ConfigError: the file cannot be written.
        """
        log.info("ready", system=what, port=self.port, http=self.http)
        if self._file is None:
            return
        half = self._file.with_name(self._file.name + ".new")
        said = {"pid": os.getpid(), "port": self.port, "http": self.http}
        try:
            half.write_text(json.dumps(said), encoding="utf-8")
            half.replace(self._file)
        except OSError as error:
            raise ConfigError(f"--ready-file {self._file} cannot be written: {error.strerror}") from None
