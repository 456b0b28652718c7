"""How the PostgreSQL of a benchmark is set: as it ships in everything that makes a commit durable."""

from collections.abc import Sequence

import psycopg

from engine.store.embedded import Cluster

SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    # When something was committed is asked of the server itself, where nobody else can tell.
    "track_commit_timestamp": "on",
}


def told_settings(cluster: Cluster, names: Sequence[str]) -> dict[str, str]:
    """Settings as the server itself tells them."""
    with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as connection:
        rows = [connection.execute("SELECT current_setting(%s)", (name,)).fetchone() for name in names]
    return {name: str(row[0]) for name, row in zip(names, rows, strict=True) if row}
