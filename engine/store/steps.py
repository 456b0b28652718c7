"""What every entry left different, in columns: made out of the entries' JSON once, when they are archived.

The export writes these beside the entries, and a verification makes them again. One row is about one record: a field
is null where the entry leaves it as it was, and JSON text otherwise (`null` for a value that is none now).
"""

import json

from engine.model.documents import Customer, Invoice
from engine.model.records import CustomerRecord, InvoiceRecord

DOC_FIELDS = tuple(dict.fromkeys((*Invoice.__struct_fields__, *Customer.__struct_fields__)))
"""Fields of a document, told in `input.documents`."""

RECORD_FIELDS = tuple(
    dict.fromkeys(
        name
        for name in (*InvoiceRecord.__struct_fields__, *CustomerRecord.__struct_fields__)
        if name not in ("doc", "version", "guard")
    )
)
"""Fields of a record, told in `after`."""


def column(field: str, *, of_document: bool) -> str:
    """A field's column."""
    return f"doc_{field}" if of_document else f"rec_{field}"


def steps_sql(entries: str) -> str:
    """The statement that makes the steps of documents out of `entries`, in the journal's order."""
    docs = {column(name, of_document=True): name for name in DOC_FIELDS}
    fields = {column(name, of_document=False): name for name in RECORD_FIELDS}
    told_form = json.dumps({"doc": dict.fromkeys(DOC_FIELDS, "JSON"), "guard": "JSON"})
    left_form = json.dumps(dict.fromkeys(RECORD_FIELDS, "JSON"))
    told = ", ".join([*(f"{_field('doc.' + f)} AS {c}" for c, f in docs.items()), "s.guard AS guard"])
    left = ", ".join(f"{_field(f)} AS {c}" for c, f in fields.items())
    nothing_told = ", ".join(f"NULL::JSON AS {c}" for c in (*docs, "guard"))
    nothing_left = ", ".join(f"NULL::JSON AS {c}" for c in fields)
    place = 'stream, seq, batch, place, "at"'
    ours = "(j.key LIKE 'invoice/%' OR j.key LIKE 'customer/%')"
    return f"""
        SELECT {place}, part, name, {told}, {nothing_left} FROM (
            SELECT {place}, 0 AS part, j.key AS name, j.value AS v, from_json(j.value, '{told_form}') AS s
            FROM {entries} AS e, json_each(e.body, '$.input.documents') AS j WHERE e.kind = 'change' AND {ours})
        UNION ALL
        SELECT {place}, part, name, {nothing_told}, {left} FROM (
            SELECT {place}, 1 AS part, j.key AS name, j.value AS v, from_json(j.value, '{left_form}') AS s
            FROM {entries} AS e, json_each(e.body, '$.after') AS j WHERE {ours})
        ORDER BY batch, place, part, name"""  # noqa: S608 - names out of this file


def moves_sql(entries: str) -> str:
    """The statement that makes the steps of all machines out of `entries`, in the journal's order."""
    form = (
        '[{"type": "VARCHAR", "machine": "VARCHAR", "subject": "VARCHAR", "trigger": "VARCHAR", "source": "VARCHAR", '
    )
    form += '"destination": "VARCHAR", "reason": "VARCHAR"}]'
    return f"""
        SELECT batch, place, "at", number, e.machine AS machine, e.subject AS subject, e.trigger AS trigger,
               e.source AS source, e.destination AS destination, e.reason AS reason
        FROM (SELECT batch, place, "at", unnest(effects) AS e, unnest(range(len(effects))) AS number
              FROM (SELECT batch, place, "at", from_json(json_extract(body, '$.effects'), '{form}') AS effects
                    FROM {entries} AS whole WHERE contains(body, '"type":"moved"')))
        WHERE e.type = 'moved' ORDER BY batch, place, number"""  # noqa: S608 - names out of this file


DERIVED = {"steps": steps_sql, "moves": moves_sql}
"""What is made out of entries, by the kind of file."""


def _field(path: str) -> str:
    """One field's text. Reading all fields of a value at once is fast, and takes a null for absent."""
    return f"CASE WHEN contains(v::VARCHAR, 'null') THEN v -> '$.{path}' ELSE s.{path} END"
