"""`arsync deadletters`: what could not be processed, kept whole: looked at, mended, tried again, dropped.

Exit codes: 0 done; 1 what was asked for cannot be done, or a retried letter still cannot be processed; 2 called
wrongly.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import click

from engine.app.actor import me
from engine.app.config import Config
from engine.app.printing import as_json, of_system, show_fields, show_table

F = TypeVar("F", bound=Callable[..., Any])
_KINDS = ("change", "document", "intent", "command")
_COLUMNS = ("id", "system", "kind", "document", "times", "last_at", "reason")


def _filtered(command: F) -> F:
    """The options by which many letters are chosen at once."""
    for option in (
        click.option("--reason", help="Only letters whose reason contains this text."),
        click.option("--document", help="Only letters about this document (invoice/7), or a part of its name."),
        click.option("--kind", type=click.Choice(_KINDS), help="Only letters of this kind."),
        of_system,
    ):
        command = option(command)
    return command


@click.group()
def deadletters() -> None:
    """Changes, documents, intents and commands that could not be processed.

    Each parks only what it is about; the stream goes on.
    """


@deadletters.command("list")
@_filtered
@click.option("--all", "all_", is_flag=True, help="Closed letters too.")
@as_json
@click.pass_obj
def list_letters(settings: tuple[Config, Path], /, all_: bool, json_: bool, **chosen: Any) -> None:  # noqa: FBT001
    """Every open letter, oldest first: what, how often, why."""
    from engine.app.wiring import open_store
    from engine.store import letters

    config, folder = settings
    wanted = letters.Filter(state=None if all_ else "open", **chosen)
    with open_store(config, folder) as store, store.connect() as connection, connection.cursor() as cursor:
        rows = [_plain(one) for one in letters.find(cursor, wanted)]
    show_table(rows, json_=json_, columns=(*_COLUMNS, "state") if all_ else _COLUMNS)


@deadletters.command("show")
@click.argument("id_", metavar="ID", type=int)
@as_json
@click.pass_obj
def show_letter(settings: tuple[Config, Path], id_: int, json_: bool) -> None:  # noqa: FBT001
    """One letter whole: its payload, and those that edits have replaced."""
    from engine.app.wiring import open_store
    from engine.store import letters

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection, connection.cursor() as cursor:
        letter = _one(cursor, id_)
        shown = {**_plain(letter), "payload": letter.payload, "replaced": letters.versions(cursor, id_)}
    show_fields(shown, json_=json_)


@deadletters.command("edit")
@click.argument("id_", metavar="ID", type=int)
@click.option("--payload", type=click.File("r"), help="The new payload (- is standard input); an editor otherwise.")
@click.option("--why", required=True, help="The reason, for the journal.")
@as_json
@click.pass_obj
def edit_letter(settings: tuple[Config, Path], id_: int, payload: IO[str] | None, why: str, json_: bool) -> None:  # noqa: FBT001
    """Mend the payload of a change or an intent. The old one is kept; `retry` takes the new one."""
    from engine.app.wiring import now, open_store
    from engine.store import letters
    from engine.store.unit import unit_of_work

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        with connection.cursor() as cursor:
            letter = _one(cursor, id_)
        if letter.kind not in (letters.LetterKind.CHANGE, letters.LetterKind.INTENT):
            raise click.ClickException(
                f"dead letter {id_} is about a {letter.kind}: what it holds is the ERP's word or a decision, and is "
                f"mended where it comes from; then `arsync deadletters retry {id_}`"
            )
        text = payload.read() if payload is not None else click.edit(letter.payload, extension=".json")
        if text is None or text.strip() == letter.payload.strip():
            raise click.ClickException("nothing was changed")
        with unit_of_work(connection, letter.system, now()) as work:
            version = letters.edit(work, id_, text.strip(), me(), why)
    show_fields({"id": id_, "version": version}, json_=json_)


@deadletters.command("retry")
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@_filtered
@click.option("--why", default="retried", show_default=True, help="The reason, for the journal.")
@click.option("--wait", default=30.0, show_default=True, help="Seconds to wait for the daemon to have done it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def retry_letters(
    settings: tuple[Config, Path],
    /,
    ids: tuple[int, ...],
    why: str,
    wait: float,
    yes: bool,  # noqa: FBT001 - a command line flag
    json_: bool,  # noqa: FBT001 - a command line flag
    **chosen: Any,
) -> None:
    """Put letters through the normal way again, after what was wrong is mended: these, or all that are chosen.

    Exit code 1 when one still cannot be processed.
    """
    from engine.app.letters import retry
    from engine.app.wiring import open_store

    config, folder = settings
    with open_store(config, folder) as store, store.connect() as connection:
        found = _chosen(connection, ids, chosen, "retry", yes=yes or json_)
        told = retry(store, connection, config, found, by=me(), why=why, wait=wait)
    show_table(told, json_=json_, columns=("id", "done", "told"))
    if not all(one["done"] for one in told):
        raise SystemExit(1)


@deadletters.command("drop")
@click.argument("ids", metavar="[ID]...", type=int, nargs=-1)
@_filtered
@click.option("--why", required=True, help="The reason, for the journal.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
@click.pass_obj
def drop_letters(
    settings: tuple[Config, Path],
    /,
    ids: tuple[int, ...],
    why: str,
    yes: bool,  # noqa: FBT001 - a command line flag
    json_: bool,  # noqa: FBT001 - a command line flag
    **chosen: Any,
) -> None:
    """Give letters up: these, or all that are chosen. They stay on record, with who dropped them and why.

    A document that is parked stays so until the ERP changes it or it can be read. About a command that is parked
    people are asked in a conflict; until they choose it is neither sent nor looked up, and no other one waits for it.
    """
    from engine.app.wiring import now, open_store
    from engine.store import letters
    from engine.store.unit import unit_of_work

    config, folder = settings
    dropped: list[dict[str, Any]] = []
    with open_store(config, folder) as store, store.connect() as connection:
        found = _chosen(connection, ids, chosen, "drop", yes=yes or json_)
        for system in dict.fromkeys(letter.system for letter in found):
            with unit_of_work(connection, system, now()) as work:
                mine = [letter.id for letter in found if letter.system == system]
                dropped += [{"id": id_} for id_ in letters.close(work, mine, "dropped", me(), why)]
    if json_:
        click.echo(json.dumps(dropped, indent=2))
    else:
        click.echo(f"{len(dropped)} dropped")


def _chosen(connection: Any, ids: tuple[int, ...], chosen: dict[str, Any], act: str, *, yes: bool) -> list[Any]:
    """The open letters that are meant; many at once are shown first, and asked for."""
    from engine.store import letters

    if not ids and not any(chosen.values()):
        raise click.UsageError("which letters? give their ids, or choose by --system, --kind, --document or --reason")
    with connection.cursor() as cursor:
        found = letters.find(cursor, letters.Filter(ids=ids, **chosen))
    missing = sorted(set(ids) - {letter.id for letter in found})
    if missing or not found:
        named = ", ".join(map(str, missing)) or "of this choice"
        raise click.ClickException(f"there is no open dead letter {named}; `arsync deadletters list` shows them")
    if not ids and not yes:
        show_table([_plain(one) for one in found[:20]], json_=False, columns=_COLUMNS)
        click.echo(f"... and {len(found) - 20} more" if len(found) > 20 else "")
        click.confirm(f"{act} {len(found)} letters?", abort=True)
    return found


def _one(cursor: Any, id_: int) -> Any:
    from engine.store import letters

    found = letters.find(cursor, letters.Filter(ids=(id_,), state=None))
    if not found:
        raise click.ClickException(f"there is no dead letter {id_}; `arsync deadletters list` shows them")
    return found[0]


def _plain(letter: Any) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(letter)
    plain.pop("payload")
    return plain
