"""Documents that must be assembled again before the stream goes on: after a snapshot, or when a look-up changed."""

from typing import Any

from psycopg import Cursor

from engine.model.documents import DocumentKind


def add_backlog(cursor: Cursor[Any], system: str, kinds: list[DocumentKind], reason: str) -> None:
    """All documents of these kinds, from the first."""
    cursor.executemany(
        """INSERT INTO backlog (system, kind, after_key, reason) VALUES (%s, %s, NULL, %s)
           ON CONFLICT (system, kind) DO UPDATE SET after_key = NULL, reason = EXCLUDED.reason""",
        [(system, str(kind), reason) for kind in kinds],
    )


def next_backlog(cursor: Cursor[Any], system: str) -> tuple[DocumentKind, str | None, str] | None:
    """(kind, last key done, reason) of what comes next, or None."""
    row = cursor.execute(
        "SELECT kind, after_key, reason FROM backlog WHERE system = %s ORDER BY kind LIMIT 1", (system,)
    ).fetchone()
    return (DocumentKind(row[0]), row[1], row[2]) if row else None


def advance_backlog(cursor: Cursor[Any], system: str, kind: DocumentKind, after: str | None) -> None:
    """Note how far a kind was done; None when it is finished."""
    if after is None:
        cursor.execute("DELETE FROM backlog WHERE system = %s AND kind = %s", (system, str(kind)))
    else:
        cursor.execute(
            "UPDATE backlog SET after_key = %s WHERE system = %s AND kind = %s", (after, system, str(kind))
        )
