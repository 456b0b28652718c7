"""Erases the personal data of a customer. The journal holds none, only its number; so nothing hashed is touched."""

import datetime as dt
import json

from psycopg.types.json import Jsonb

from engine.model.canonical import short_digest
from engine.store.journal import Entry
from engine.store.unit import Connection, unit_of_work

ERASED = "erased"
"""In place of the data: the digest of what was erased, so that the same does not come back from the mirror."""


def erase(connection: Connection, system: str, customer: str, now: dt.datetime) -> bool:
    """Forget names and addresses of a customer, and what could not be read of it; journalled. False: nothing known.

    The mirror holds what the ERP holds until the ERP says otherwise; other data of the ERP is kept again.
    """
    row = connection.execute(
        "SELECT number, data::text FROM personal WHERE system = %s AND key = %s", (system, customer)
    ).fetchone()
    if row is None:
        return False
    number, data = row[0], json.loads(row[1])
    if ERASED in data:
        return True
    with unit_of_work(connection, system, now) as work:
        kept = {"name": None, ERASED: short_digest(data)}
        work.cursor.execute(
            "UPDATE personal SET data = %s WHERE system = %s AND key = %s", (Jsonb(kept), system, customer)
        )
        work.cursor.execute(
            "UPDATE dead_letter SET payload = '' WHERE system = %s AND document = %s",
            (system, f"customer/{customer}"),
        )
        told = {"erased": f"customer/{customer}#{number}"}
        work.note(Entry(f"{system}/operators", "choice", now, told))
    return True
