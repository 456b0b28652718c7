"""Errors that connectors raise, sorted by what the engine does next. Each carries the sentence for the operator."""


class ConnectorError(Exception):
    """Something outside arsync did not do what was asked. The sentence names the thing, the cause, the next step.

    `cause` and `fix` are its two halves; without a `fix` of its own the cause says everything.
    """

    def __init__(self, cause: str, fix: str = "") -> None:
        super().__init__(f"{cause}; {fix}" if fix else cause)
        self.cause = cause
        self.fix = fix


class SourceError(ConnectorError):
    """The stream of changes broke; it is closed and opened again after a delay."""


class SourceRefused(ConnectorError):
    """The stream of changes cannot be read as it is set up; going on would lose data. The daemon stops."""


class MappingError(ConnectorError):
    """A row or document cannot be understood; it is kept with its reason and parks that document only."""


class ConfigError(ConnectorError):
    """A setting is missing or wrong; nothing was started."""


class Unavailable(ConnectorError):
    """The ERP does not answer now; nothing was done; try again later."""
