"""What the `target` section of a Tryton system may say."""

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine.ports.errors import ConfigError


class TargetOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how payments are written; times in seconds.

    `timeout` bounds one call, `deadline_seconds` all calls of one payment. `in_doubt_seconds` is how long Tryton may
    still commit a request whose answer was lost: its own request limit with the repeats that it makes of a
    transaction. `payment_method` (name or id) and `statement_journals` (names by currency code) say which to book
    with; without them the only one is taken, or the oldest. So it is with `write_off`, the write-off method whose
    account takes what is given up of a deduction, and with `entry_journal`, the journal of ledger entries. `ca_file`
    holds the certificates to trust instead of the system's.
    """

    url: str
    database: str
    user: str
    password: str
    timeout: float = 30.0
    deadline_seconds: float = 60.0
    in_doubt_seconds: float = 120.0
    settle_seconds: float = 60.0
    payment_method: str | int | None = None
    statement_journals: dict[str, str] = {}
    write_off: str | None = None
    entry_journal: str | None = None
    ca_file: str | None = None

    def __repr__(self) -> str:
        """Without the password."""
        return f"TargetOptions(url={self.url!r}, database={self.database!r}, user={self.user!r})"

    def trust(self) -> bool | ssl.SSLContext:
        """How the server's certificate is verified."""
        if self.ca_file is None:
            return True
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"target.ca_file {self.ca_file} cannot be used: {error}") from None


def read_options(section: Mapping[str, Any]) -> TargetOptions:
    """The section as a value.

    Raises:
        ConfigError: a setting is missing, unknown or wrong; the message names it, never a value.
    """
    for name in ("url", "database", "user", "password"):
        if not section.get(name):
            raise ConfigError(f"the target of a Tryton lacks `{name}`; set target.{name}")
    unknown = sorted(set(section) - set(TargetOptions.__struct_fields__))
    if unknown:
        known = ", ".join(TargetOptions.__struct_fields__)
        raise ConfigError(f"the target of a Tryton has unknown settings: {', '.join(unknown)}; known are: {known}")
    try:
        options = msgspec.convert(dict(section), TargetOptions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the target of a Tryton: {error}") from None
    if not options.url.startswith(("http://", "https://")):
        raise ConfigError("the target's url must begin with http:// or https://; set target.url")
    if "@" in urlsplit(options.url).netloc:
        raise ConfigError("the target's url must not hold a user or password; set target.user and its password")
    for name in ("timeout", "deadline_seconds", "in_doubt_seconds", "settle_seconds"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"target.{name} must be greater than zero")
    return options
