"""`arsync replay as-of`, `timeline`, `balance`, `close`, `diff`, `sql`, `report`: what was true at a time."""

import datetime as dt
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from engine.app.config import Config
from engine.app.printing import as_json, of_system, show_table
from engine.app.replaying import of_archive, opened


@contextmanager
def _archived(
    settings: tuple[Config, Path], archive: Path | None, system: str | None
) -> Iterator[tuple[Any, list[str]]]:
    """An archive to look into; the store is exported into one for the time being."""
    import tempfile

    from engine.store.archive import Archive
    from engine.store.exporting import export

    if archive is not None:
        with opened(settings, archive, system) as (journal, systems, _):
            yield journal, systems
        return
    from engine.app.progress import Bar
    from engine.app.wiring import open_store

    config, folder = settings
    with (
        tempfile.TemporaryDirectory(prefix="arsync-replay-") as place,
        open_store(config, folder) as store,
        store.connect() as connection,
    ):
        known = [str(name) for (name,) in connection.execute("SELECT name FROM system ORDER BY name")]
        if system is not None and system not in known:
            raise click.ClickException(f"the store holds no system {system}; it holds {', '.join(known) or 'none'}")
        systems = [system] if system else known
        for name in systems:
            row = connection.execute("SELECT count(*) FROM journal WHERE system = %s", (name,)).fetchone()
            bar = Bar(f"read {name}", int(row[0]) if row else 0)
            export(connection, name, Path(place), bar.to)
            bar.close()
        yield Archive(Path(place)), systems


def _until(moment: str | None) -> Any:
    """A batch number or an ISO time."""
    from engine.flow.replay.folding import Until

    if moment is None or moment.isdecimal():
        return Until(batch=int(moment) if moment else None)
    try:
        at = dt.datetime.fromisoformat(moment)
    except ValueError:
        raise click.BadParameter(f"{moment!r} is neither a batch number nor an ISO time") from None
    return Until(at=at if at.tzinfo else at.replace(tzinfo=dt.UTC))


def _documents(archive: Any, system: str, until: Any) -> list[tuple[str, Any]]:
    from engine.flow.replay.looking import as_of

    start = archive.pruned_to(system)
    if start:
        click.echo(f"{system}: started from the checkpoint of batch {start}; older entries are pruned", err=True)
    begun = archive.records(system, start)
    found = as_of(archive.parts(system), until, begun, archive.files(system, "moves"))
    return sorted(found, key=lambda one: one[0])


@click.command("as-of")
@click.argument("moment", metavar="TIME|POSITION")
@of_archive
@of_system
@as_json
@click.pass_obj
def as_of(settings: tuple[Config, Path], moment: str, archive: Path | None, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """Every document as it was known at a time (ISO, UTC) or after a batch of the journal."""
    import msgspec

    rows = []
    with _archived(settings, archive, system) as (held, systems):
        for name in systems:
            for document, record in _documents(held, name, _until(moment)):
                plain = msgspec.to_builtins(record)
                rows.append({"system": name, "document": document, **plain, "state": plain.get("state")})
    for row in rows if not json_ else ():
        row |= {field: row["doc"].get(field) for field in ("number", "customer", "open_amount", "currency")}
    show_table(rows, json_=json_, columns=("system", "document", "number", "customer", "open_amount", "currency",
                                      "state"))  # fmt: skip


@click.command()
@click.argument("document")
@of_archive
@of_system
@as_json
@click.pass_obj
def timeline(
    settings: tuple[Config, Path],
    document: str,
    archive: Path | None,
    system: str | None,
    json_: bool,  # noqa: FBT001
) -> None:
    """The life of one record, entry by entry. DOCUMENT is `kind/key`, as `invoice/17`, `intent/rcpt-17`."""
    from engine.flow.replay.asking import timeline as entries

    name = document if "/" in document else f"invoice/{document}"
    with opened(settings, archive, system) as (journal, systems, _):
        rows = [{"system": one, **row} for one in systems for row in entries(journal, one, name)]
    if not rows:
        raise click.ClickException(f"no entry tells of {name}; `arsync replay as-of` lists what is known")
    for row in rows if not json_ else ():
        row["moves"] = ", ".join(row["moves"])
    show_table(rows, json_=json_, columns=("at", "batch", "entry", "kind", "moves"))


@click.command()
@click.argument("customer")
@click.option("--as-of", "moment", help="A time (ISO, UTC) or a batch; now otherwise.")
@of_archive
@of_system
@as_json
@click.pass_obj
def balance(
    settings: tuple[Config, Path], customer: str, moment: str | None, archive: Path | None, system: str | None,
    json_: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    """What CUSTOMER owed: the ERP's ledger by company, and the open invoices."""
    import msgspec

    rows: list[dict[str, Any]] = []
    with _archived(settings, archive, system) as (held, systems):
        for name in systems:
            for document, record in _documents(held, name, _until(moment)):
                doc = msgspec.to_builtins(record.doc)
                if document == f"customer/{customer}":
                    rows += [{"system": name, "document": document, "number": None, "amount": a["receivable"],
                              "currency": a["currency"], "state": f"owed to company {a['company']}"}
                             for a in doc["accounts"]]  # fmt: skip
                elif doc.get("customer") == customer and record.doc.open_amount and not record.deleted:
                    rows.append({"system": name, "document": document, "number": doc["number"],
                                 "amount": doc["open_amount"], "currency": doc["currency"],
                                 "state": record.state})  # fmt: skip
    show_table(rows, json_=json_, columns=("system", "document", "number", "amount", "currency", "state"))


@click.command()
@click.argument("period", metavar="YYYY-MM")
@of_archive
@of_system
@as_json
@click.pass_obj
def close(settings: tuple[Config, Path], period: str, archive: Path | None, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """The month-end view at the end of a month: open items, what was cleared and posted, what was under way."""
    import msgspec

    from engine.flow.replay.closing import close as closing

    with _archived(settings, archive, system) as (held, systems):
        found = [msgspec.to_builtins(closing(held, name, _month(period))) for name in systems]
    if json_:
        click.echo(json.dumps(found, indent=2))
        return
    for one in found:
        click.echo(f"{one['system']} at {one['cut_off']}: {len(one['open_items'])} open items, {one['cleared']} "
                   f"cleared and {one['posted']} posted in {period}, {len(one['commands_under_way'])} commands under "
                   f"way, {len(one['conflicts_open'])} conflicts open")  # fmt: skip
        show_table(one["balances"], json_=False, columns=("company", "currency", "subledger", "ledger", "difference"))
        show_table(one["open_items"], json_=False,
                   columns=("key", "number", "customer", "open_amount", "currency", "due", "state"))  # fmt: skip


@click.command()
@click.option("--policy", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A TOML file with the settings of a [systems.NAME.policy] section.")  # fmt: skip
@click.option(
    "--mapping", metavar="VERSION", help="A version of the connector's mapping, or module:name; needs --capture."
)
@click.option("--capture", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="The recorded capture that both mappings read.")  # fmt: skip
@of_archive
@of_system
@as_json
@click.pass_obj
def diff(
    settings: tuple[Config, Path], file: Path | None, mapping: str | None, capture: Path | None, archive: Path | None,
    system: str | None, json_: bool,  # noqa: FBT001
) -> None:  # fmt: skip
    """Where another policy would have decided otherwise, entry by entry, on the records as they really were; or what
    another mapping makes otherwise of a recorded capture, field by field.

    The exit code is 1 when there are differences.
    """
    if (file is None) == (mapping is None) or (mapping is None) != (capture is None):
        raise click.UsageError("give either --policy FILE, or --mapping VERSION with --capture FILE")
    if mapping is not None and capture is not None:
        rows, columns = _of_mapping(settings[0], mapping, capture, system), ("document", "field", "now", "then")
    elif file is not None:
        rows, columns = _of_policy(settings, file, archive, system), ("entry", "field", "recorded", "again")
    show_table(rows, json_=json_, columns=columns)
    if rows:
        raise SystemExit(1)


def _of_mapping(config: Config, version: str, capture: Path, system: str | None) -> list[dict[str, Any]]:
    import msgspec

    from engine.app.remapping import mapping_of, under_mapping
    from engine.app.verbs.run import choose_system

    name, chosen = choose_system(config, system)
    other = mapping_of(chosen.connector, version)
    return [{"system": name, **msgspec.to_builtins(one)} for one in under_mapping(chosen, capture, other)]


def _of_policy(
    settings: tuple[Config, Path], file: Path, archive: Path | None, system: str | None
) -> list[dict[str, Any]]:
    import tomllib

    import msgspec

    from engine.app.config import PolicyConfig, SystemConfig, policy_of
    from engine.flow.replay.asking import under_policy

    try:
        config = msgspec.convert(tomllib.loads(file.read_text(encoding="utf-8")), PolicyConfig)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise click.ClickException(f"{file} is no policy: {error}") from None
    policy = policy_of(SystemConfig("", policy=config))
    with opened(settings, archive, system) as (journal, systems, _):
        return [
            {"system": name, "batch": one.batch, "entry": one.entry, **msgspec.to_builtins(field)}
            for name in systems for one in under_policy(journal, name, policy) for field in one.differences
        ]  # fmt: skip


@click.command("sql")
@click.argument("question")
@of_archive
@of_system
@as_json
@click.pass_obj
def sql(settings: tuple[Config, Path], question: str, archive: Path | None, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """Answer a question in SQL, read-only, over the views entries, steps, moves, conflicts and commands.

    `SELECT * FROM moves LIMIT 5` shows what is in one; README.md names the columns.
    """
    from engine.flow.replay.asking import ask

    with _archived(settings, archive, system) as (held, systems):
        try:
            columns, rows = ask(held, systems, question)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("duckdb", "_duckdb"):
                raise
            raise click.ClickException(f"this cannot be answered: {error}") from None
    found = [{c: v if isinstance(v, int | str | bool | None) else str(v) for c, v in zip(columns, row, strict=True)}
             for row in rows]  # fmt: skip
    show_table(found, json_=json_, columns=tuple(columns))


@click.command()
@click.argument("period", metavar="YYYY-MM")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@of_archive
@of_system
@click.pass_obj
def report(settings: tuple[Config, Path], period: str, file: Path, archive: Path | None, system: str | None) -> None:
    """Write the month's figures and plots to FILE: one HTML page that needs nothing beside it, and can be printed."""
    from engine.flow.replay.reporting import page

    with _archived(settings, archive, system) as (held, systems):
        file.write_text(page(held, systems, _month(period)), encoding="utf-8")
    click.echo(f"{file}: {period}, {', '.join(systems)}")


def _month(period: str) -> str:
    from engine.flow.replay.closing import period_bounds

    try:
        period_bounds(period)
    except ValueError:
        raise click.BadParameter(f"{period!r} is no month; write it as 2026-11") from None
    return period
