"""What Tryton's rows mean as AR documents. Pure: rows in, documents out; replay loads this and no other part.

The open amount is nowhere a column in Tryton. It is the sum over the receivable lines that no reconciliation covers,
and an invoice is cleared when every line to pay is reconciled, through delegation to its end; a sum of zero alone
is not that. Checked against Tryton's own word on every database that was at hand.
"""

import datetime as dt
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from connectors.tryton import tables as t
from engine.model.canonical import money
from engine.model.change import Row
from engine.model.columns import as_date, as_decimal, as_decimal_or_none, as_id, as_micros, as_text
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
from engine.ports.errors import MappingError
from engine.ports.mapping import Amount, Relation, TableSpec
from engine.ports.rows import Rows

_RECEIVABLE = "receivable/"
_ZERO = Decimal(0)


class TrytonMapping:
    """Tryton 8.2 with the modules account_invoice, account_credit_limit, account_payment, account_statement."""

    version = 1
    tables: Sequence[TableSpec] = t.TABLES
    relations: Sequence[Relation] = t.RELATIONS
    roots: Mapping[str, DocumentKind] = t.ROOTS
    papers: Collection[str] = (t.MOVE, t.SALE)

    def assemble(self, kind: DocumentKind, key: str, rows: Rows, sums: Mapping[str, Decimal]) -> Assembled | None:
        """See `ErpMapping.assemble`."""
        if kind is DocumentKind.INVOICE:
            row = rows.get(t.INVOICE, key)
            # Supplier invoices share the table; they are no receivable.
            return _InvoiceReader(key, row, rows).read() if row is not None and row["type"] == "out" else None
        row = rows.get(t.PARTY, key)
        return None if row is None else _read_customer(key, row, rows, sums)

    def read_paper(self, table: str, key: str, row: Row) -> Paper | None:
        """See `ErpMapping.read_paper`."""
        number, state = as_text(row.get("number"), "number"), as_text(row["state"], "state")
        if table == t.SALE:
            held = state not in ("confirmed", "processing", "done")
            # A draft may have no customer yet.
            whose = (as_id(row[name], name) if row.get(name) is not None else None for name in ("party", "company"))
            return SalesOrder(key, number, held, *whose)
        text = as_text(row.get("description"), "description")
        return LedgerEntry(key, number, text, final=state == "posted") if text is not None else None

    def amounts(self, table: str, row: Row, rows: Rows) -> Iterable[Amount]:
        """A line adds to its party's receivable while nothing reconciles it."""
        if table != t.LINE or row.get("party") is None or row.get("reconciliation") is not None:
            return
        account = rows.get(t.ACCOUNT, as_id(row["account"], "account"))
        account_type = rows.get(t.ACCOUNT_TYPE, as_id(account["type"], "type")) if account else None
        if account is None or account_type is None or not account_type["receivable"]:
            return
        amount = as_decimal(row["debit"], "debit") - as_decimal(row["credit"], "credit")
        if amount:
            yield Amount(DocumentKind.CUSTOMER, str(row["party"]), f"{_RECEIVABLE}{account['company']}", amount)


def token(row: Row) -> str:
    """Tryton's optimistic-lock token of a row: seconds since 1970 with six decimals, as its `_timestamp` field."""
    micros = as_micros(row["write_date"], "write_date") or as_micros(row["create_date"], "create_date") or 0
    return f"{micros // 1_000_000}.{micros % 1_000_000:06d}"


class _InvoiceReader:
    """Reads one invoice; an object because currency, company and lines are needed in every step."""

    def __init__(self, key: str, row: Row, rows: Rows) -> None:
        self.key = key
        self.row = row
        self.rows = rows
        self.currency = _needed(rows, t.CURRENCY, row["currency"])
        self.company = _needed(rows, t.COMPANY, row["company"])
        self.state = as_text(row["state"], "state") or ""
        self.to_pay = [] if self.state == "draft" else list(self._lines_to_pay())
        self.payments = list(self._payment_lines())

    def read(self) -> Assembled:
        total = self._total()
        sequence_type = self.row.get("sequence_type_cache")
        # A document numbered as an invoice may still be owed to the customer: its sign decides its direction.
        credit = total < 0 or (total == 0 and sequence_type == "credit_note")
        phase = self._phase()
        invoice = Invoice(
            key=self.key,
            company=str(self.row["company"]),
            type=InvoiceType.CREDIT_MEMO if credit else InvoiceType.INVOICE,
            number=as_text(self.row["number"], "number"),
            customer=str(self.row["party"]),
            currency=str(self.currency["code"]),
            total_amount=money(total),
            open_amount=money(self._open()),
            phase=phase,
            erp_state=self.state,
            invoice_date=as_date(self.row["invoice_date"], "invoice_date"),
            due=self._due() if phase is Phase.OPEN else (),
            terms=self._terms(),
            reference=as_text(self.row.get("reference"), "reference"),
            blocked=any(line.get("payment_blocked") for _, line in self.to_pay if line["reconciliation"] is None),
            applications=tuple(self._applications(-1 if credit else 1)),
        )
        guard = {f"account.invoice,{self.key}": token(self.row)}
        for key, line in (*self.to_pay, *self.payments):
            if line["reconciliation"] is None:
                guard[f"account.move.line,{key}"] = token(line)
        return Assembled(document=invoice, guard=guard)

    def _lines_to_pay(self) -> Iterator[tuple[str, Row]]:
        moves = [self.row["move"]]
        moves += [link["move"] for _, link in self.rows.where(t.ADDITIONAL_MOVE, "invoice", self.key)]
        for move in dict.fromkeys(moves):
            for key, line in self.rows.where(t.LINE, "move", move):
                if line["account"] == self.row["account"]:
                    yield key, line

    def _payment_lines(self) -> Iterator[tuple[str, Row]]:
        for _, link in self.rows.where(t.PAYMENT_LINK, "invoice", self.key):
            key = as_id(link["line"], "line")
            line = self.rows.get(t.LINE, key)
            if key is not None and line is not None:
                yield key, line

    def _total(self) -> Decimal:
        cached = as_decimal_or_none(self.row["total_amount_cache"], "total_amount_cache")
        if cached is not None:
            return cached
        total = _ZERO
        for _, line in self.rows.where(t.INVOICE_LINE, "invoice", self.key):
            if line["type"] == "line" and line["quantity"] is not None and line["unit_price"] is not None:
                # A quantity is a binary float in Tryton too; its shortest spelling is the number that was typed.
                quantity = (
                    Decimal(repr(line["quantity"])) if isinstance(line["quantity"], float) else line["quantity"]
                )
                price = as_decimal(line["unit_price"], "unit_price")
                total += self._round(as_decimal(quantity, "quantity") * price)
        return total + sum(
            (as_decimal(tax["amount"], "amount") for _, tax in self.rows.where(t.INVOICE_TAX, "invoice", self.key)),
            _ZERO,
        )

    def _phase(self) -> Phase:
        if self.state in {"draft", "validated"}:
            return Phase.DRAFT
        if self.state == "cancelled":
            return Phase.VOID
        if self.state not in {"posted", "paid"}:
            raise MappingError(f"invoice {self.key} has the state {self.state!r}, which is none of Tryton's")
        groups = [self._final_reconciliation(line) for _, line in self.to_pay]
        if not groups or None in groups:
            return Phase.OPEN
        for group in dict.fromkeys(group for group in groups if group is not None):
            for _, line in self.rows.where(t.LINE, "reconciliation", group):
                move = self.rows.get(t.MOVE, as_id(line["move"], "move"))
                if move is None or move["state"] != "posted":
                    return Phase.CLEARED
        return Phase.FINAL

    def _final_reconciliation(self, line: Row) -> str | None:
        """The reconciliation that in the end covers a line, or None while it, or whom it was handed to, is open."""
        seen: set[str] = set()
        while (key := as_id(line["reconciliation"], "reconciliation")) is not None and key not in seen:
            seen.add(key)
            reconciliation = self.rows.get(t.RECONCILIATION, key)
            delegate = as_id(reconciliation.get("delegate_to"), "delegate_to") if reconciliation else None
            if delegate is None:
                return key
            handed_to = self.rows.get(t.LINE, delegate)
            if handed_to is None:
                return None
            line = handed_to
        return None

    def _open(self) -> Decimal:
        """Tryton's amount to pay; a paid invoice owes again as soon as one of its lines is open again."""
        if self.state == "paid" and all(line["reconciliation"] is not None for _, line in self.to_pay):
            return _ZERO
        if self.state not in {"posted", "paid"}:
            return _ZERO
        own, foreign = _ZERO, _ZERO
        for _, line in (*self.to_pay, *self.payments):
            if line["reconciliation"] is None:
                if line["second_currency"] is not None and line["second_currency"] == self.row["currency"]:
                    own += as_decimal(line["amount_second_currency"], "amount_second_currency")
                else:
                    foreign += as_decimal(line["debit"], "debit") - as_decimal(line["credit"], "credit")
        return own + (self._convert(foreign) if foreign else _ZERO)

    def _in_currency(self, line: Row) -> Decimal:
        if line["second_currency"] is not None and line["second_currency"] == self.row["currency"]:
            return as_decimal(line["amount_second_currency"], "amount_second_currency")
        return self._convert(as_decimal(line["debit"], "debit") - as_decimal(line["credit"], "credit"))

    def _convert(self, amount: Decimal) -> Decimal:
        """Company currency to the invoice's, at the rate of the invoice's date, rounded half to even."""
        if self.company["currency"] == self.row["currency"]:
            return self._round(amount)
        day = as_date(self.row["invoice_date"], "invoice_date")
        return self._round(amount * self._rate(self.row["currency"], day) / self._rate(self.company["currency"], day))

    def _rate(self, currency: int, day: dt.date | None) -> Decimal:
        rates = sorted(
            (date, as_decimal(rate["rate"], "rate"))
            for _, rate in self.rows.where(t.RATE, "currency", currency)
            if (date := as_date(rate["date"], "date")) is not None
        )
        valid = [rate for date, rate in rates if day is None or date <= day]
        if valid:
            return valid[-1]
        raise MappingError(f"invoice {self.key}: currency {currency} has no rate on or before {day}")

    def _round(self, amount: Decimal) -> Decimal:
        step = as_decimal(self.currency["rounding"], "rounding")
        return (amount / step).quantize(Decimal(1), rounding=ROUND_HALF_EVEN) * step

    def _due(self) -> tuple[tuple[dt.date | None, Decimal], ...]:
        items = [
            (as_date(line["maturity_date"], "maturity_date"), money(self._in_currency(line)))
            for _, line in self.to_pay
            if line["reconciliation"] is None
        ]
        return tuple(sorted(items, key=lambda item: (item[0] or dt.date.max, item[1])))

    def _terms(self) -> str | None:
        term = self.rows.get(t.TERM, as_id(self.row.get("payment_term"), "payment_term"))
        return as_text(term["name"], "name") if term else None

    def _applications(self, direction: int) -> Iterator[Application]:
        """Payment lines that still pay: open ones, and those reconciled together with a line to pay."""
        covering = {line["reconciliation"] for _, line in self.to_pay if line["reconciliation"] is not None}
        for key, line in self.payments:
            if line["reconciliation"] is not None and line["reconciliation"] not in covering:
                continue
            move = self.rows.get(t.MOVE, as_id(line["move"], "move")) or {}
            numbers = [row["number"] for _, row in self.rows.where(t.STATEMENT_LINE, "move", line["move"])]
            yield Application(
                item=key,
                amount=money(-self._in_currency(line) * direction),
                text=next((number for number in numbers if number), move.get("description")),
                date=as_date(move.get("date"), "date"),
                final=move.get("state") == "posted",
            )


def _read_customer(key: str, row: Row, rows: Rows, sums: Mapping[str, Decimal]) -> Assembled:
    limits = {str(limit["company"]): limit for _, limit in rows.where(t.LIMIT, "party", key)}
    companies = dict(rows.all(t.COMPANY))
    accounts = []
    for company_key, company in companies.items():
        receivable = sums.get(f"{_RECEIVABLE}{company_key}", _ZERO)
        if len(companies) > 1 and company_key not in limits and not receivable:
            continue
        limit = as_decimal_or_none(limits.get(company_key, {}).get("credit_limit_amount"), "credit_limit_amount")
        accounts.append(
            CreditAccount(
                company=company_key,
                currency=str(_needed(rows, t.CURRENCY, company["currency"])["code"]),
                receivable=money(receivable),
                credit_limit=None if limit is None else money(limit),
            )
        )
    customer = Customer(key=key, active=bool(row["active"]), accounts=tuple(accounts))
    guard = {f"party.party,{key}": token(row)}
    return Assembled(document=customer, guard=guard, personal=_personal(key, row, rows))


def _personal(key: str, row: Row, rows: Rows) -> dict[str, Any]:
    contacts = [contact for _, contact in rows.where(t.CONTACT, "party", key) if contact.get("active", True)]
    return {
        "name": row["name"],
        "code": row.get("code"),
        "contacts": [{"type": contact["type"], "value": contact["value"]} for contact in contacts],
        "addresses": [
            {
                "street": address.get("street_unstructured") or address.get("street_name"),
                "city": address.get("city"),
                "postal_code": address.get("postal_code"),
            }
            for _, address in rows.where(t.ADDRESS, "party", key)
        ],
        "identifiers": [identifier.get("code") for _, identifier in rows.where(t.IDENTIFIER, "party", key)],
    }


def _needed(rows: Rows, table: str, key: object) -> Row:
    row = rows.get(table, as_id(key, table))
    if row is None:
        raise MappingError(f"table {table} has no row {key}; is it captured, and was the snapshot complete?")
    return row
