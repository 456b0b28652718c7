"""An ERP's database with the workload's tables, ready for Debezium; `player` writes into it."""

import psycopg

from benchmarks.live.columns import all_tables, create, statement
from benchmarks.workload.stream import Workload
from engine.store.embedded import Cluster

ROLE, PASSWORD = "erp", "Secret-Pass-4711"
SETTINGS = {
    "wal_level": "logical",
    # When a transaction was committed is asked of the server itself.
    "track_commit_timestamp": "on",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    # A slot whose reader was killed, or has not had its turn yet, keeps its place.
    "wal_sender_timeout": "0",
    "max_replication_slots": "64",
    "max_wal_senders": "64",
}
"""Of its cluster; everything that makes a commit durable is as PostgreSQL ships it."""


class LiveErp:
    """One database. It holds the workload's reference data and customers, and no invoice."""

    def __init__(self, cluster: Cluster, name: str, seed: int) -> None:
        cluster.ensure_role(ROLE, password=PASSWORD, replication=True)
        cluster.ensure_database(name, owner=ROLE)
        self.name, self.host, self.port = name, cluster.host, cluster.port
        self.dsn = cluster.dsn(name, user=ROLE, password=PASSWORD)
        self.owner_dsn = cluster.dsn(name)
        with psycopg.connect(self.dsn) as connection, connection.pipeline():
            for table, columns in all_tables().items():
                for made in create(table, columns):
                    connection.execute(made)
            for table, row in Workload(seed).first_rows():
                query, values = statement((table, "c", None, row))
                connection.execute(query, values)

    def commit_times(self, transactions: list[str]) -> dict[str, float]:
        """When these were committed, in seconds since 1970 by the server's clock."""
        query = """SELECT tx, extract(epoch FROM pg_xact_commit_timestamp(tx::xid))
                   FROM unnest(%s::text[]) AS tx"""
        with psycopg.connect(self.owner_dsn, autocommit=True) as connection:
            rows = connection.execute(query, (transactions,)).fetchall()
        return {str(tx): float(at) for tx, at in rows if at is not None}
