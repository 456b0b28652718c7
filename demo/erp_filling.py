"""Where the books of a demo's Tryton come from: the folder itself, a kept set-up, or a new installation.

Called by `demo.erp` alone. Two things are kept: Tryton's bare modules, which take most of a minute to install,
and each finished company, so that another company or a changed set-up costs seconds.
"""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from connectors.tryton.rpc import Session
from demo.company import CompanyPlan, build
from demo.erp_server import TrytonServer
from demo.erp_template import Template, name_of_company, name_of_modules
from engine.store.embedded import Cluster
from engine.store.embedded_programs import write_private

MODULES = ("account_invoice", "account_credit_limit", "account_statement", "account_payment", "sale_credit_limit")
ADMIN = "admin"
NEWS_SECONDS = 10.0
STATISTICS_SECONDS = 1.0
CATALOG = ("pg_attribute", "pg_class", "pg_constraint", "pg_depend", "pg_index", "pg_namespace", "pg_type")


@dataclass(frozen=True, slots=True)
class Filling:
    """Fills `database`, which will belong to the role `owner`; `users` are the logins that the company gets."""

    folder: Path
    cache: Path
    cluster: Cluster
    server: TrytonServer
    plan: CompanyPlan
    database: str
    owner: str
    owner_password: str
    users: tuple[str, ...]
    progress: Callable[[str], None]

    def fill(self) -> dict[str, str]:
        """Give the passwords of Tryton's users by login, once the books are there."""
        here = self.folder / "passwords.json"
        if here.exists():
            return dict(json.loads(here.read_text(encoding="utf-8")))
        self._empty_database()
        company = Template(self.cache, name_of_company(self.plan, MODULES))
        if company.exists:
            self.progress("Restoring the company")
            company.restore(self._connection())
            passwords = company.passwords()
        else:
            passwords = self._modules()
            passwords |= self._company(passwords[ADMIN])
            company.keep(self._connection(), passwords)
        write_private(here, json.dumps(passwords))
        return passwords

    def _modules(self) -> dict[str, str]:
        bare = Template(self.cache, name_of_modules(MODULES))
        if bare.exists:
            self.progress("Restoring Tryton's modules")
            bare.restore(self._connection())
            return bare.passwords()
        passwords = {ADMIN: secrets.token_urlsafe(24)}
        self.progress("Installing Tryton's modules (only the first time on this machine, about a minute)")
        with psycopg.connect(self.cluster.dsn(self.database), autocommit=True) as connection:
            self.server.install(MODULES, passwords[ADMIN], self._while_installing(connection))
        bare.keep(self._connection(), passwords)
        return passwords

    def _company(self, admin_password: str) -> dict[str, str]:
        passwords = {login: secrets.token_urlsafe(24) for login in self.users}
        self.progress("Setting up the company")
        self.server.start()
        with Session(self.server.url, self.database, ADMIN, admin_password) as session:
            build(session, self.plan, passwords)
        self.server.stop()
        return passwords

    def _while_installing(self, connection: psycopg.Connection[tuple[Any, ...]]) -> Callable[[float], None]:
        """Tell how long it takes, and keep the statistics of the catalog fresh.

        Thousands of columns and constraints appear within seconds. Without new statistics PostgreSQL plans
        Tryton's questions about them as if there were none, and the installation takes half as long again.
        """
        told = counted = 0.0

        def waiting(passed: float) -> None:
            nonlocal told, counted
            if passed - told >= NEWS_SECONDS:
                told = passed
                self.progress(f"Installing Tryton's modules: {passed:.0f} s")
            if passed - counted >= STATISTICS_SECONDS:
                counted = passed
                for table in CATALOG:
                    connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier("pg_catalog", table)))

        return waiting

    def _empty_database(self) -> None:
        """What is there without passwords beside it was left half made, perhaps by something still at it."""
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(self.database))
        with psycopg.connect(self.cluster.dsn(), autocommit=True) as connection:
            connection.execute(drop)
        self.cluster.ensure_database(self.database, owner=self.owner)

    def _connection(self) -> dict[str, str]:
        return {
            "PGHOST": self.cluster.host,
            "PGPORT": str(self.cluster.port),
            "PGUSER": self.owner,
            "PGPASSWORD": self.owner_password,
            "PGDATABASE": self.database,
        }
