"""`arsync replay`: the auditor's proof. Reads the store or an archive, changes nothing, reaches no network."""

import json
from pathlib import Path

import click

from engine.app.config import Config
from engine.app.printing import as_json, of_system
from engine.app.replaying import of_archive, opened, outside_checkpoints
from engine.app.verbs import looking_back


@click.group()
def replay() -> None:
    """Prove the journal, and tell what was true at a time."""


@replay.command()
@of_archive
@of_system
@click.option("--checkpoint", "files", multiple=True, type=click.Path(dir_okay=False, path_type=Path),
              help="Checkpoints that were kept outside, one on each line; may be given several times.")  # fmt: skip
@click.option("--public-key", help="The Ed25519 public key (base64) that they must be signed with.")
@click.option("--chain-only", is_flag=True, help="Chains, heads and checkpoints' heads only; decide nothing again.")
@as_json
@click.pass_obj
def verify(
    settings: tuple[Config, Path],
    archive: Path | None,
    system: str | None,
    files: tuple[Path, ...],
    public_key: str | None,
    chain_only: bool,  # noqa: FBT001 - click's own call
    json_: bool,  # noqa: FBT001
) -> None:
    """Follow every chain, hold the checkpoints, and take every decision again.

    What is wrong is named by entry and field. Entries that no checkpoint kept outside covers are counted as
    uncovered: whoever can write the whole database could have written them. The exit code is 1 when one is wrong.
    """
    import msgspec

    from engine.app.progress import Bar
    from engine.flow.replay.proving import prove

    points = outside_checkpoints(files, public_key)
    results = []
    with opened(settings, archive, system) as (journal, systems, current):
        for name in systems:
            bar = Bar(f"verify {name}", journal.count(name))
            results.append(
                prove(journal, name, outside=points, progress=bar.to, current=current, decide=not chain_only)
            )
            bar.close()
    if json_:
        plain = [{**msgspec.to_builtins(one), "uncovered": one.uncovered} for one in results]
        click.echo(json.dumps(plain, indent=2))
    for one in results if not json_ else ():
        for fault in one.faults:
            shown = f" (recorded {fault.recorded}, again {fault.again})" if fault.field else ""
            click.echo(f"{one.system}: {fault.sentence}{shown}")
        if one.more_faults:
            click.echo(f"{one.system}: and {one.more_faults} faults more")
        if one.began:
            click.echo(f"{one.system}: started from the checkpoint of batch {one.began}; older entries are pruned")
        if one.chained_only:
            click.echo(
                f"{one.system}: {one.chained_only} entries of an older form are chained, and not decided again"
            )
        click.echo(
            f"{one.system}: {one.entries} entries, {one.decided} decided again, {one.checkpoints} checkpoints met, "
            f"{len(one.faults) + one.more_faults} faults; {one.uncovered} entries uncovered; digest {one.digest[:16]}"
        )
    if any(one.faults for one in results):
        raise SystemExit(1)


@replay.command()
@of_archive
@of_system
@as_json
@click.pass_obj
def normal(settings: tuple[Config, Path], archive: Path | None, system: str | None, json_: bool) -> None:  # noqa: FBT001
    """The normal form: documents, effects and lives without attempts and times. Two runs of one work agree in it."""
    import msgspec

    from engine.flow.replay.normal import normal_form

    with opened(settings, archive, system) as (journal, systems, _):
        found = [normal_form(journal, name) for name in systems]
    if json_:
        click.echo(json.dumps([{**msgspec.to_builtins(one), "digest": one.digest} for one in found], indent=2))
    for one in found if not json_ else ():
        click.echo(
            f"{one.system}: {len(one.documents)} documents, {len(one.effects)} effects, digest {one.digest[:16]}"
        )


for _verb in (
    looking_back.as_of,
    looking_back.timeline,
    looking_back.balance,
    looking_back.close,
    looking_back.diff,
    looking_back.sql,
    looking_back.report,
):
    replay.add_command(_verb)
