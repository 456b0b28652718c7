"""The month-end view: what stood at a cut-off, and what happened in the period, out of an archive alone."""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from engine.flow.replay.folding import Until
from engine.flow.replay.looking import as_of
from engine.model.records import CustomerRecord, InvoiceRecord
from engine.store.archive import Archive, open_duckdb

_UNDER_WAY = ("pending", "sent", "unknown", "stale", "part_done", "accepted", "overdue", "held")
_OPEN_CONFLICTS = ("detected", "held", "chosen")
AGES = ("not due", "1-30", "31-60", "61-90", "over 90")


class Closing(msgspec.Struct):
    """`balances` hold the subledger (open items) against the ERP's ledger (what customers owe), by company and
    currency; money that customers hold on account is the difference.
    """

    system: str
    period: str
    cut_off: dt.datetime
    open_items: list[dict[str, Any]]
    ageing: dict[str, dict[str, Decimal]]
    cleared: int
    posted: int
    commands_under_way: list[dict[str, Any]]
    conflicts_open: list[dict[str, Any]]
    balances: list[dict[str, Any]]


def period_bounds(period: str) -> tuple[dt.datetime, dt.datetime]:
    """Beginning and end of a month `YYYY-MM`, UTC; the end belongs to the next. Raises ValueError."""
    begin = dt.datetime.strptime(period, "%Y-%m").replace(tzinfo=dt.UTC)
    after = (begin + dt.timedelta(days=32)).replace(day=1)
    return begin, after


def close(archive: Archive, system: str, period: str) -> Closing:
    """The figures of one month, as they were known at its end."""
    begin, after = period_bounds(period)
    until = Until(at=after - dt.timedelta(microseconds=1))
    begun = archive.records(system, archive.pruned_to(system))
    found = list(as_of(archive.parts(system), until, begun, archive.files(system, "moves")))
    invoices = [r for _, r in found if isinstance(r, InvoiceRecord) and not r.deleted]
    customers = [r for _, r in found if isinstance(r, CustomerRecord) and not r.deleted]
    owed = [r for r in invoices if r.doc.open_amount and r.state not in ("new", "cleared", "posted")]
    moves = _moves(archive, system, begin, after)
    return Closing(
        system=system,
        period=period,
        cut_off=after,
        open_items=[_item(r) for r in sorted(owed, key=lambda r: (r.doc.customer, r.key))],
        ageing=_ageing(owed, (after - dt.timedelta(days=1)).date()),
        cleared=moves["cleared"],
        posted=moves["posted"],
        commands_under_way=list(_last_states(archive, system, "command", until, _UNDER_WAY)),
        conflicts_open=list(_last_states(archive, system, "conflict", until, _OPEN_CONFLICTS)),
        balances=_balances(owed, customers),
    )


def _item(record: InvoiceRecord) -> dict[str, Any]:
    doc = record.doc
    return {
        "key": doc.key, "number": doc.number, "customer": doc.customer, "company": doc.company, "state": record.state,
        "currency": doc.currency, "open_amount": doc.open_amount, "due": doc.due[0][0] if doc.due else None,
        "in_flight": record.claimed(),
    }  # fmt: skip


def _ageing(owed: list[InvoiceRecord], day: dt.date) -> dict[str, dict[str, Decimal]]:
    """Open amounts by currency and days overdue."""
    ages: dict[str, dict[str, Decimal]] = {}
    for record in owed:
        row = ages.setdefault(record.doc.currency, dict.fromkeys(AGES, Decimal(0)))
        for due, amount in record.doc.due or ((None, record.doc.open_amount),):
            late = (day - due).days if due is not None else 0
            row[AGES[0] if late <= 0 else AGES[min(4, (late - 1) // 30 + 1)]] += amount
    return ages


def _balances(owed: list[InvoiceRecord], customers: list[CustomerRecord]) -> list[dict[str, Any]]:
    subledger: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    ledger: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for invoice in owed:
        subledger[invoice.doc.company, invoice.doc.currency] += invoice.doc.open_amount
    for customer in customers:
        for account in customer.doc.accounts:
            ledger[account.company, account.currency] += account.receivable
    return [
        {"company": company, "currency": currency, "subledger": subledger[company, currency],
         "ledger": ledger[company, currency],
         "difference": ledger[company, currency] - subledger[company, currency]}
        for company, currency in sorted({*subledger, *ledger})
    ]  # fmt: skip


EFFECTS = """
    SELECT e."at", e.batch, e.place, u AS effect, row_number() OVER () AS n
    FROM (SELECT "at", batch, place, unnest(from_json(json_extract(body, '$.effects'), '["JSON"]')) AS u
          FROM read_parquet(?, hive_partitioning = false)) AS e"""
"""Every effect of every entry, in order."""


def _moves(archive: Archive, system: str, begin: dt.datetime, after: dt.datetime) -> dict[str, int]:
    """How many invoices came into a state within the period."""
    with open_duckdb() as duck:
        rows = duck.execute(
            f"""SELECT effect ->> '$.destination', count(DISTINCT effect ->> '$.subject') FROM ({EFFECTS})
                WHERE effect ->> '$.type' = 'moved' AND effect ->> '$.machine' = 'invoice'
                  AND effect ->> '$.source' <> effect ->> '$.destination' AND "at" >= ? AND "at" < ? GROUP BY 1""",  # noqa: S608
            [archive.files(system), begin.replace(tzinfo=None), after.replace(tzinfo=None)],
        ).fetchall()
    return {"cleared": 0, "posted": 0} | dict(rows)


def _last_states(
    archive: Archive, system: str, machine: str, until: Until, wanted: tuple[str, ...]
) -> Iterator[dict[str, Any]]:
    """Commands or conflicts whose last step before the cut-off left them in one of these states."""
    told = ("planned", "command") if machine == "command" else ("raised", "conflict")
    with open_duckdb() as duck:
        rows = duck.execute(
            f"""WITH every AS (SELECT * FROM ({EFFECTS}) WHERE {until.where}),
                states AS (SELECT effect ->> '$.subject' AS id, arg_max(effect ->> '$.destination', n) AS state
                           FROM every WHERE effect ->> '$.type' = 'moved' AND effect ->> '$.machine' = '{machine}'
                           GROUP BY 1),
                told AS (SELECT effect ->> '$.{told[1]}' AS id, min("at") AS since, arg_max(effect, n) AS effect
                         FROM every WHERE effect ->> '$.type' = '{told[0]}' GROUP BY 1)
                SELECT told.id, coalesce(states.state, ?) AS state, since, effect
                FROM told LEFT JOIN states USING (id) WHERE coalesce(states.state, ?) IN (SELECT unnest(?))
                ORDER BY since, id""",  # noqa: S608
            [archive.files(system), wanted[0], wanted[0], list(wanted)],
        ).fetchall()
    for name, state, since, effect in rows:
        said = msgspec.json.decode(effect)
        more = (
            {"intent": said["intent"], "amount": said["write"]["amount"], "currency": said["write"]["currency"]}
            if machine == "command"
            else {"kind": said["kind"], "sentence": said["sentence"]}
        )
        yield {machine: name, "state": state, "since": since.replace(tzinfo=dt.UTC).isoformat(), **more}
