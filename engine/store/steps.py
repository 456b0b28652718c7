"""What every entry left different, in columns: made out of the entries' JSON once, when they are archived.

The export writes these beside the entries, and a verification makes them again. One row is about one document in one
entry: a field is null where the entry leaves it as it was, and JSON text otherwise (`null` for a value that is none
now). Rows stand by `bucket` and document, so that all that is told of one is read without the rest, and in one go.
Out of the steps in turn come the `lasts`: one row for each document, with the last value of each field in that file.
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


BUCKETS = 16
"""Into so many parts documents fall by their names, so that looking back needs the memory of one of them."""


COLUMNS = (
    *(column(f, of_document=True) for f in DOC_FIELDS),
    *(column(f, of_document=False) for f in RECORD_FIELDS),
)
"""The columns of a document's fields."""

NO_ROWS = f"SELECT {', '.join(f'NULL::JSON AS {name}' for name in COLUMNS)} WHERE false"
"""Nothing, in all columns. What an earlier version wrote has fewer where a field came later: `UNION ALL BY NAME` with
this gives it the others, empty."""

POSITION = "batch * 1048576 + place"
"""Where a step stands among all of a system's, as one number."""


def steps_sql(entries: str) -> str:
    """The statement that makes the steps out of `entries`: by bucket and document, each one's in their order."""
    told = [f"'$.doc.{name}'" for name in DOC_FIELDS]
    left = [f"'$.{name}'" for name in RECORD_FIELDS]
    columns = [f"told[{n}] AS {column(name, of_document=True)}" for n, name in enumerate(DOC_FIELDS, 1)]
    columns += [f"told[{len(told) + 1}] AS guard"]
    columns += [f"fields[{n}] AS {column(name, of_document=False)}" for n, name in enumerate(RECORD_FIELDS, 1)]
    form = json.dumps({"after": _BY_NAME, "input": {"documents": _BY_NAME}})
    return f"""
        SELECT batch, place, "at", name, {_bucket("name")} AS bucket, {", ".join(columns)}
        FROM (SELECT batch, place, "at", name, json_extract(documents[name], [{", ".join(told)}, '$.guard']) AS told,
                     json_extract(after[name], [{", ".join(left)}]) AS fields
              FROM (SELECT batch, place, "at", documents, after, unnest(list_distinct(
                           coalesce(map_keys(documents), []) || coalesce(map_keys(after), []))) AS name
                    FROM (SELECT batch, place, "at", b.after AS after,
                                 CASE WHEN kind = 'change' THEN b.input.documents END AS documents
                          FROM (SELECT batch, place, "at", kind, from_json(body, '{form}') AS b
                                FROM {entries} AS whole WHERE place IS NOT NULL)))
              WHERE name LIKE 'invoice/%' OR name LIKE 'customer/%')
        ORDER BY bucket, name, batch, place"""  # noqa: S608 - names out of this file


def moves_sql(entries: str) -> str:
    """The statement that makes the steps of all machines out of `entries`, by bucket and subject, in the same way."""
    names = ("type", "machine", "subject", "trigger", "source", "destination", "reason")
    form = json.dumps({"effects": [dict.fromkeys(names, "VARCHAR")]})
    columns = ", ".join(f'e."{name}" AS "{name}"' for name in names[1:])
    return f"""
        SELECT batch, place, "at", number, {_bucket("e.machine || '/' || e.subject")} AS bucket, {columns}
        FROM (SELECT batch, place, "at", unnest(effects) AS e, unnest(range(len(effects))) AS number
              FROM (SELECT batch, place, "at", from_json(body, '{form}').effects AS effects
                    FROM {entries} AS whole WHERE contains(body, '"type":"moved"')))
        WHERE e.type = 'moved' ORDER BY bucket, machine, subject, batch, place, number"""  # noqa: S608 - names out of this file


DERIVED = {"steps": steps_sql, "moves": moves_sql}
"""What is made out of entries, by the kind of file."""


def lasts_sql(steps: str) -> str:
    """The statement that makes the last values out of `steps`: a row for each document, at its last step.

    `guard` is what all its tokens have come to, `null` for one that is gone.
    """
    last = ", ".join(f"arg_max({name}, pos) AS {name}" for name in COLUMNS)
    tokens = f"""
        SELECT name, '{{' || string_agg(to_json(k)::VARCHAR || ':' || v, ',' ORDER BY k) || '}}' AS merged
        FROM (SELECT name, e.key AS k, arg_max(coalesce(e.value::VARCHAR, 'null'), pos) AS v
              FROM (SELECT name, {POSITION} AS pos,
                           unnest(map_entries(from_json(guard, '{json.dumps(_BY_NAME)}'))) AS e
                    FROM {steps} AS told WHERE guard IS NOT NULL) GROUP BY name, k) GROUP BY name"""  # noqa: S608
    return f"""
        SELECT max(batch) AS batch, (max(pos) % 1048576)::INTEGER AS place, max("at") AS "at", name,
               any_value(bucket) AS bucket, {last}, any_value(merged) AS guard
        FROM (SELECT *, {POSITION} AS pos FROM {steps} AS told) LEFT JOIN ({tokens}) USING (name)
        GROUP BY name ORDER BY bucket, name"""  # noqa: S608 - names out of this file


_BY_NAME = "MAP(VARCHAR, JSON)"


def _bucket(name: str) -> str:
    return f"(md5_number_lower({name}) % {BUCKETS})::UTINYINT"
