"""`arsync conflicts policy`: what a policy would have done with the conflicts on record, before it is used."""

from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from engine.app.printing import as_json, of_system
from engine.app.verbs.conflicts.reaching import Settings, open_connection

if TYPE_CHECKING:
    from engine.app.config import Config
    from engine.model.records import ConflictRecord


@click.group()
def policy() -> None:
    """Policies: what is done about conflicts when nobody is asked."""


@policy.command("test")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@of_system
@click.option("--limit", default=20, show_default=True, help="How many differing conflicts to name.")
@as_json
@click.pass_obj
def test(settings: Settings, file: str, system: str | None, limit: int, json_: bool) -> None:  # noqa: FBT001
    """What would have happened to the conflicts on record under the policies of FILE, a whole configuration.

    Changes nothing. Each conflict is held against the policy of its system in FILE by kind, company and amount.
    """
    import json

    from engine.app.config import load_config

    config, _ = load_config(file)
    with open_connection(settings) as connection:
        rows = _compared(connection, config, system)
    changed = [row for row in rows if row["was"] != row["would_be"]]
    counts = Counter((row["kind"], row["was"], row["would_be"]) for row in rows)
    if json_:
        told = [{"kind": kind, "was": was, "would_be": would, "count": number}
                for (kind, was, would), number in sorted(counts.items())]  # fmt: skip
        click.echo(json.dumps({"conflicts": len(rows), "changed": changed, "counts": told}, indent=2))
        return
    click.echo(f"{'kind':20} {'was':11} {'would be':11} {'count':>6}")
    for (kind, was, would), number in sorted(counts.items()):
        click.echo(f"{kind:20} {was:11} {would:11} {number:6}{'  *' if was != would else ''}")
    for row in changed[:limit]:
        click.echo(f"  {row['id']}  {row['kind']}: {row['was']} -> {row['would_be']}, {row['means']}")
    click.echo(f"{len(rows)} conflicts, {len(changed)} would be treated otherwise")


def _compared(connection: Any, config: "Config", system: str | None) -> list[dict[str, Any]]:
    import msgspec

    from engine.app.config import policy_of
    from engine.model.records import ConflictRecord
    from engine.rules.policy import Policy
    from engine.store.conflict_queries import Wanted, documents

    owners = msgspec.json.Decoder(dict[str, msgspec.Raw])
    policies = {name: policy_of(one) for name, one in config.systems.items()}
    rows = []
    with connection.cursor() as cursor:
        for text in documents(cursor, Wanted(states=(), system=system), limit=None):
            owner = str(msgspec.json.decode(owners.decode(text)["system"]))
            record = msgspec.json.decode(text, type=ConflictRecord)
            would = policies.get(owner, Policy()).choice(
                record.kind, company=record.company, amount=record.amount, currency=record.currency
            )
            was = record.default_choice
            rows.append({"system": owner, "id": record.id, "kind": str(record.kind), "was": was,
                         "would_be": str(would), "means": _meaning(record, str(would))})  # fmt: skip
    return rows


def _meaning(record: "ConflictRecord", would: str) -> str:
    """What the other choice would have meant for this one."""
    if would == "hold":
        return "a person would have been asked"
    if would == "accept_erp":
        return f"intent {record.intent} would have been refused at once" if record.intent else "closed at once"
    return f"intent {record.intent} would have been decided again at once, under the same key"
