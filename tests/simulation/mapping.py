"""The simulated ERP's mapping: pure, as a connector's is. It knows its tables and nothing of `Books`."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from engine.model.canonical import money
from engine.model.change import Row
from engine.model.columns import as_date, as_decimal, as_decimal_or_none, as_id, as_text
from engine.model.documents import (
    Application,
    Assembled,
    CreditAccount,
    Customer,
    DocumentKind,
    Invoice,
    InvoiceType,
    LedgerEntry,
    Paper,
    Phase,
    SalesOrder,
)
from engine.ports.mapping import Amount, Relation, TableSpec
from engine.ports.rows import KEY, Rows

COMPANY = "1"
VERSIONS = {"mapping": 1}
_PHASES = {"draft": Phase.DRAFT, "void": Phase.VOID}


class SimMapping:
    """`by_writer` is a protection switched off: our writes are known by who wrote the row, not by what it says."""

    version = VERSIONS["mapping"]
    tables: Sequence[TableSpec] = (
        TableSpec("bill"),
        TableSpec("item", summed=True),
        TableSpec("settle", summed=True),
        TableSpec("receipt"),
        TableSpec("clearing"),
        TableSpec("partner"),
        TableSpec("credit_limit"),
        TableSpec("entry"),
        TableSpec("sorder"),
        TableSpec("currency", lookup=True, watched=("code",)),
    )
    relations: Sequence[Relation] = (
        Relation("bill", KEY, "item", "bill"),
        Relation("bill", KEY, "settle", "bill"),
        Relation("settle", "receipt", "receipt", KEY),
        Relation("bill", KEY, "clearing", "bill"),
        Relation("partner", KEY, "credit_limit", "partner"),
    )
    roots: Mapping[str, DocumentKind] = {"bill": DocumentKind.INVOICE, "partner": DocumentKind.CUSTOMER}
    papers: Collection[str] = ("entry", "sorder")

    def __init__(self, *, by_writer: bool = False) -> None:
        self._by_writer = by_writer

    def assemble(self, kind: DocumentKind, key: str, rows: Rows, sums: Mapping[str, Decimal]) -> Assembled | None:
        """See `ErpMapping.assemble`."""
        if kind is DocumentKind.INVOICE:
            row = rows.get("bill", key)
            return None if row is None else self._invoice(key, row, rows)
        row = rows.get("partner", key)
        return None if row is None else _customer(key, row, rows, sums)

    def read_paper(self, table: str, key: str, row: Row) -> Paper | None:
        """See `ErpMapping.read_paper`."""
        if table == "sorder":
            number, held = as_text(row["number"], "number"), bool(row["held"])
            return SalesOrder(key, number, held, as_id(row["partner"], "partner"), "1")
        return LedgerEntry(key, None, as_text(row["text"], "text"), final=bool(row["posted"]))

    def amounts(self, table: str, row: Row, rows: Rows) -> Iterable[Amount]:  # noqa: ARG002 - the port's
        """An item adds to what its customer owes; money applied takes off it."""
        sign = int(row["side"]) * (-1 if table == "settle" else 1)
        amount = as_decimal(row["amount"], "amount") * sign
        yield Amount(DocumentKind.CUSTOMER, str(row["partner"]), "receivable", amount)

    def _invoice(self, key: str, row: Row, rows: Rows) -> Assembled:
        items = list(rows.where("item", "bill", key))
        lines = list(rows.where("settle", "bill", key))
        clearing = [found for _, found in rows.where("clearing", "bill", key)]
        phase = _PHASES.get(row["state"], Phase.OPEN)
        if phase is Phase.OPEN and clearing:
            phase = Phase.FINAL if clearing[0]["final"] else Phase.CLEARED
        applied = sum((as_decimal(line["amount"], "amount") for _, line in lines), Decimal(0))
        owed = sum((as_decimal(item["amount"], "amount") for _, item in items), Decimal(0))
        balance = Decimal(0) if phase in (Phase.DRAFT, Phase.VOID) else owed - applied
        sign = -1 if row["kind"] == "credit" else 1
        currency = rows.get("currency", as_id(row["currency"], "currency")) or {}
        invoice = Invoice(
            key=key,
            company=COMPANY,
            type=InvoiceType.CREDIT_MEMO if row["kind"] == "credit" else InvoiceType.INVOICE,
            number=as_text(row["number"], "number"),
            customer=str(row["partner"]),
            currency=str(currency["code"]),
            total_amount=money(as_decimal(row["total"], "total") * sign),
            open_amount=money(balance * sign),
            phase=phase,
            erp_state=str(row["state"]),
            invoice_date=as_date(row["day"], "day"),
            due=_due(items, applied, sign) if phase is Phase.OPEN else (),
            terms=as_text(row["note"], "note"),
            reference=as_text(row["ref"], "ref"),
            blocked=any(item["held"] for _, item in items),
            applications=tuple(self._application(line_key, line, rows) for line_key, line in lines),
        )
        guard = {f"bill/{key}": str(row["v"]), **{f"item/{name}": str(item["v"]) for name, item in items}}
        return Assembled(document=invoice, guard=guard)

    def _application(self, key: str, line: Row, rows: Rows) -> Application:
        receipt: Row = rows.get("receipt", as_id(line["receipt"], "receipt")) or {}
        text = receipt.get("memo") if receipt else line["text"]
        if self._by_writer and (line["wuser"] != "arsync" or receipt.get("wuser") != "arsync"):
            text = None
        return Application(
            item=key,
            amount=money(as_decimal(line["amount"], "amount")),
            text=as_text(text, "text"),
            date=as_date(receipt["day"] if receipt else line["day"], "day"),
            final=bool(receipt.get("posted", True)),
        )


def _due(items: Sequence[tuple[str, Row]], applied: Decimal, sign: int) -> tuple[tuple[Any, Decimal], ...]:
    """What is open of each item: money pays the oldest first."""
    due = []
    dated = [(as_date(item["due"], "due"), int(key), as_decimal(item["amount"], "amount")) for key, item in items]
    for day, _, amount in sorted(dated, key=lambda one: (str(one[0]), one[1])):
        used = min(applied, amount)
        applied -= used
        if used < amount:
            due.append((day, money((amount - used) * sign)))
    return tuple(due)


def _customer(key: str, row: Row, rows: Rows, sums: Mapping[str, Decimal]) -> Assembled:
    limits = [found for _, found in rows.where("credit_limit", "partner", key)]
    limit = as_decimal_or_none(limits[0]["amount"], "amount") if limits else None
    account = CreditAccount(
        company=COMPANY,
        currency="EUR",
        receivable=money(sums.get("receivable", Decimal(0))),
        credit_limit=None if limit is None else money(limit),
    )
    customer = Customer(key=key, active=bool(row["active"]), accounts=(account,))
    return Assembled(document=customer, guard={f"partner/{key}": str(row["v"])}, personal={"name": row["name"]})
