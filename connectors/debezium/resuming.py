"""Decides where an embedded Debezium goes on: after what the engine has committed, at a new snapshot, or not at all.

`connectors.debezium.embedded` asks at each opening. The promise: what the ERP's server has already forgotten, and
the engine has not seen, is never passed over in silence.
"""

from typing import Final

from connectors.debezium.preflight import Server
from connectors.debezium.server import Slot
from connectors.debezium.settings import Options, default_name
from connectors.debezium.wire import Offset
from engine.ports.errors import SourceRefused
from engine.ports.source import Resume, SourceSetup

_CLAIM: Final = "slot"


def where_to_go_on(setup: SourceSetup, options: Options, server: Server) -> Offset | None:
    """The offset that was kept, or None when a new snapshot is due. SourceRefused when changes are gone."""
    resume, slot = setup.resume, server.slot
    if slot is not None and (slot.plugin != "pgoutput" or slot.database != options.database):
        raise SourceRefused(
            f"the replication slot {options.slot} is for {slot.plugin} on database {slot.database}, not for this "
            "source",
            "give this system another slot",
        )
    if options.new_epoch:
        return None
    if resume is None:
        _check_claim(setup, options, server)
        return None
    if resume.get("epoch") != server.epoch:
        raise SourceRefused(
            f"the ERP's server is not the one that was read: it is {server.epoch}, it was {resume.get('epoch')}; "
            "positions in its log no longer compare",
            "if this is intended, run `arsync run --new-epoch`, then `arsync reconcile`",
        )
    offset: Offset | None = resume.get("offset")
    if offset is None or _in_snapshot(offset):
        return None
    _check_gap(options, server.end, slot, read_up_to(resume))
    return offset


def _check_gap(options: Options, end: int, slot: Slot | None, read: int) -> None:
    remedy = "take a new snapshot with `arsync run --new-epoch`, then compare with `arsync reconcile`"
    if slot is None:
        raise SourceRefused(
            f"the replication slot {options.slot} is gone from the ERP's server, and with it all changes since the "
            "last one that was read",
            remedy,
        )
    if slot.lost:
        raise SourceRefused(
            f"the ERP's server has thrown away log that the replication slot {options.slot} needed "
            "(max_slot_wal_keep_size), so changes are lost",
            remedy,
        )
    if slot.confirmed > read:
        raise SourceRefused(
            f"the replication slot {options.slot} is confirmed up to {slot.confirmed}, but the store has read up to "
            f"{read} only: the store was restored from a backup, or the slot was read by others",
            remedy,
        )
    if end < read:
        raise SourceRefused(
            f"the log of the ERP's server ends at {end}, but {read} was read of it: the server was restored from a "
            "backup",
            remedy,
        )


def at_restart(offset: Offset | None, slot: Slot | None) -> Offset | None:
    """The offset to hand to Debezium: where the oldest transaction begins that the server may still send.

    The server sends no transaction again that was confirmed. Debezium, told a later position, leaves out the rows
    before it, also those of transactions that were open there and have not been read; told an earlier one, it takes
    the log between for lost and refuses to start. Told that it has read a message there, it passes on all that the
    server sends; told of anything else, of a transaction under way above all, it looks for that and leaves out or
    makes up what lies between.
    """
    if offset is None or slot is None:
        return offset
    return {"lsn": slot.restart, "lsn_proc": slot.restart, "lsn_commit": slot.restart, "messageType": "MESSAGE"}


def claim(setup: SourceSetup, server: Server) -> None:
    """Remember in the source's folder that the slot is its own."""
    (setup.folder / _CLAIM).write_text(server.epoch, encoding="utf-8")


def _check_claim(setup: SourceSetup, options: Options, server: Server) -> None:
    """A slot that exists before anything was read may be somebody else's, and it is about to be dropped."""
    kept = setup.folder / _CLAIM
    ours = options.slot == default_name(setup.system) or (
        kept.exists() and kept.read_text(encoding="utf-8") == server.epoch
    )
    if server.slot is not None and not ours and options.snapshot_mode == "initial":
        raise SourceRefused(
            f"the replication slot {options.slot} exists, though nothing was read of it for system {setup.system}",
            "if no other program uses it, run `arsync run --new-epoch`, else give this system another slot",
        )


def _in_snapshot(offset: Offset) -> bool:
    """Whether the snapshot was not complete yet; Debezium would start it over, too."""
    return bool(offset.get("snapshot")) and not offset.get("last_snapshot_record")


def read_up_to(resume: Resume | None) -> int:
    """The log position up to which the engine has committed what it read; 0 for none.

    Kept apart from Debezium's own start, which lies before it.
    """
    held = resume or {}
    return max(furthest(held.get("offset")), int(held.get("lsn") or 0))


def furthest(offset: Offset | None) -> int:
    """The last log position that an offset names; 0 for none."""
    held = offset or {}
    return max((int(held.get(name) or 0) for name in ("lsn", "lsn_proc", "lsn_commit")), default=0)
