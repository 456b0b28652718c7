"""What an auditor asks of an archive besides proof: the life of one document, other policies, and free questions."""

from collections.abc import Iterator
from typing import Any

import msgspec

from engine.flow.replay.closing import EFFECTS
from engine.flow.replay.deciding import Again, Difference
from engine.flow.replay.reading import DECODER, Journal
from engine.flow.replay.state import State
from engine.rules.policy import Policy
from engine.store.archive import Archive, open_duckdb

VIEWS = {
    "entries": "stream, seq, system, batch, place, at, kind, body (JSON), previous, hash: the journal as it is",
    "steps": "batch, place, at, name, bucket, doc_*, guard, rec_*: what an entry left different in a document",
    "moves": "batch, place, at, machine, subject, trigger, source, destination, reason: every step of every machine",
    "conflicts": "batch, place, at, conflict, kind, rule, sentence, choice: every conflict as it was raised",
    "commands": "batch, place, at, command, revision, intent, write (JSON): every write that was planned",
}
"""The views that `arsync replay sql` offers, with their columns."""


class Otherwise(msgspec.Struct, frozen=True):
    """An entry at which another policy would have decided otherwise, on the same records."""

    entry: str
    batch: int
    kind: str
    differences: tuple[Difference, ...]


def timeline(journal: Journal, system: str, name: str) -> Iterator[dict[str, Any]]:
    """Every entry that told of a record, moved it, or left it different, in order. `name` is `kind/key`."""
    kind, _, key = name.partition("/")
    for part in journal.rows(system):
        for stream, seq, _, batch, place, at, what, text, _, _ in part:
            if key not in text:
                continue
            body = DECODER.decode(text)
            told = body.input.get("documents", {}).get(name) if isinstance(body.input, dict) else None
            left = {n: f for n, f in body.after.items() if n == name or n.startswith(f"{name}/")}
            moves = [e for e in body.effects if e.get("subject") == key and e.get("machine") == kind]
            if told is not None or left or moves or (name in body.basis and what != "change"):
                yield {"at": at.isoformat(), "batch": batch, "place": place, "entry": f"{stream}#{seq}", "kind": what,
                       "told": told, "moves": [f"{e['source']} -> {e['destination']} ({e['trigger']})" for e in moves
                                               if e["type"] == "moved"],
                       "left": next(iter(left.values()), {})}  # fmt: skip


def under_policy(journal: Journal, system: str, policy: Policy) -> Iterator[Otherwise]:
    """Each entry at which this policy would have led elsewhere; every other one is decided on what really was."""
    again = Again(system, State())
    again.state.load(journal.records(system, journal.pruned_to(system)))
    other = Again(system, again.state)
    other.policy = policy
    for part in journal.rows(system, journal.pruned_to(system)):
        for stream, seq, _, batch, place, at, kind, text, _, _ in part:
            if place is None:
                continue
            found = other.compare(kind, at, text)
            if found:
                yield Otherwise(f"{stream}#{seq}", batch, kind, tuple(found))
            again.entry(kind, at, text)


def ask(archive: Archive, systems: list[str], question: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Answer a question in SQL over the views; (columns, rows). It can change nothing and read no other file."""
    entries = [path for system in systems for path in archive.files(system)]
    steps = [path for system in systems for path in archive.files(system, "steps")]
    with open_duckdb() as duck:
        duck.execute(_over("entries", entries))
        duck.execute(_over("steps", steps))
        effects = EFFECTS.replace("read_parquet(?, hive_partitioning = false)", "entries")
        fields = {
            "moves": ("moved", ("machine", "subject", "trigger", "source", "destination", "reason")),
            "conflicts": ("raised", ("conflict", "kind", "rule", "sentence", "choice")),
            "commands": ("planned", ("command", "revision", "intent", "write")),
        }
        for view, (kind, names) in fields.items():
            columns = ", ".join(f"effect ->> '$.{name}' AS \"{name}\"" for name in names)
            duck.execute(
                f"""CREATE VIEW {view} AS SELECT batch, place, "at", {columns} FROM ({effects})
                    WHERE effect ->> '$.type' = '{kind}'"""  # noqa: S608 - names of this file
            )
        duck.execute(f"SET allowed_paths = {[*entries, *steps]!r}")
        duck.execute("SET enable_external_access = false")
        duck.execute("SET lock_configuration = true")
        found = duck.execute(question)
        return [column[0] for column in found.description], found.fetchall()


def _over(name: str, files: list[str]) -> str:
    read = f"read_parquet({files!r}, hive_partitioning = false, union_by_name = true)"
    return f"CREATE VIEW {name} AS SELECT * FROM {read}"  # noqa: S608 - its own paths
