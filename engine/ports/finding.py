"""What `arsync check` reports: one finding for each thing that was looked at.

Sources and targets make them; `engine.app.checks` collects and prints them, and `arsync run` logs those that are not
as they should be.
"""

from enum import StrEnum
from typing import Self

import msgspec

from engine.ports.errors import ConnectorError


class Grade(StrEnum):
    """`warning`: works now, and needs somebody's care. `error`: does not work, or would lose or change data."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct, frozen=True):
    """What was looked at, how it is, and how to mend it if it is not as it must be."""

    subject: str
    grade: Grade
    detail: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is nothing to do."""
        return self.grade is Grade.OK

    @classmethod
    def well(cls, subject: str, detail: str) -> Self:
        """Nothing to do."""
        return cls(subject, Grade.OK, detail)

    @classmethod
    def warning(cls, subject: str, detail: str, fix: str) -> Self:
        """Works, and needs care."""
        return cls(subject, Grade.WARNING, detail, fix)

    @classmethod
    def error(cls, subject: str, detail: str, fix: str) -> Self:
        """Does not work."""
        return cls(subject, Grade.ERROR, detail, fix)

    @classmethod
    def of(cls, subject: str, error: ConnectorError) -> Self:
        """What an opening would have failed with."""
        return cls(subject, Grade.ERROR, error.cause, error.fix)
