"""The rows of a Tryton database that the workload writes: every column that Debezium sends, at its first value.

`lives` copies these and changes what a step of a life changes. A table that is not written by any life (accounts,
terms, currencies, parties) is told by the snapshot that the stream begins with.
"""

from typing import Any, Final

Row = dict[str, Any]

INVOICE: Final = "account_invoice"
INVOICE_LINE: Final = "account_invoice_line"
INVOICE_TAX: Final = "account_invoice_tax"
LINK: Final = "account_invoice-account_move_line"
MOVE: Final = "account_move"
LINE: Final = "account_move_line"
RECONCILIATION: Final = "account_move_reconciliation"

RECEIVABLE, REVENUE, TAX, BANK = 39, 99, 132, 35
CURRENCY, COMPANY, TERM = 1, 1, 10
_STAMP: Final[Row] = {"create_date": 0, "create_uid": 4, "write_date": None, "write_uid": None}


def _nulls(*names: str) -> Row:
    return dict.fromkeys(names)


EMPTY: Final[dict[str, Row]] = {
    INVOICE: {
        "id": 0, "account": RECEIVABLE,
        **_nulls("accounting_date", "cancel_move", "comment"),
        "company": COMPANY, **_STAMP, "currency": CURRENCY, "description": None, "invoice_address": 0,
        **_nulls("invoice_date", "invoice_report_cache_id", "invoice_report_format"),
        "journal": 1, **_nulls("move", "number", "number_alnum", "number_digit"), "party": 0,
        "party_tax_identifier": None, "payment_term": TERM,
        **_nulls("payment_term_date", "posted_by", "reference", "sequence", "sequence_type_cache",
                 "source_tax_amount", "source_total_amount", "source_untaxed_amount"),
        "state": "draft",
        **_nulls("supplier_payment_reference", "supplier_payment_reference_type", "tax_amount_cache",
                 "tax_identifier", "total_amount_cache"),
        "type": "out", "untaxed_amount_cache": None, "validated_by": None, "payment_direct_debit": False,
    },
    INVOICE_LINE: {
        "id": 0, "account": REVENUE, "company": COMPANY, **_STAMP, "currency": CURRENCY, "description": "Textile",
        "invoice": 0, **_nulls("invoice_type", "note", "origin", "party", "product"), "quantity": 1.0,
        **_nulls("sequence", "taxes_date"), "taxes_deductible_rate": "1", "type": "line", "unit": None,
        "unit_price": "0.00", "correction": False,
    },
    INVOICE_TAX: {
        "id": 0, "account": TAX, "amount": "0.00", "base": "0.00", **_STAMP, "description": "Tax 0.21", "invoice": 0,
        "legal_notice": None, "manual": False, "sequence": None, "tax": 1,
    },
    LINK: {"id": 0, **_STAMP, "invoice": 0, "line": 0},
    MOVE: {
        "id": 0, "company": COMPANY, **_STAMP, "date": 0, "description": None, "journal": 1, "number": None,
        "origin": None, "period": 47, "post_date": None, "state": "draft",
    },
    LINE: {
        "id": 0, "account": 0, "amount_second_currency": None, **_STAMP, "credit": "0", "debit": "0",
        **_nulls("description", "maturity_date"), "move": 0,
        **_nulls("origin", "party", "reconciliation", "second_currency"),
        "state": "draft", "payment_amount_cache": None, "payment_blocked": False, "payment_direct_debit": False,
    },
    RECONCILIATION: {"id": 0, "company": COMPANY, **_STAMP, "date": 0, "delegate_to": None, "number": "0"},
    "party_party": {
        "id": 0, "active": True, "code": "0", "code_alnum": "0", "code_digit": 0, **_STAMP, "name": "",
        "replaced_by": None,
    },
    "party_address": {
        "id": 0, "active": True, **_nulls("attn", "building_name", "building_number"), "city": "City",
        "country": None, **_STAMP, "floor_number": None, "party": 0,
        **_nulls("party_name", "post_box", "post_office", "postal_code", "private_bag", "room_number", "sequence",
                 "street_name"),
        "street_unstructured": "Main 1", "subdivision": None, "unit_number": None, "delivery": False,
        "invoice": False,
    },
    "party_party_credit_limit_amount": {
        "id": 0, "company": COMPANY, **_STAMP, "credit_limit_amount": "5000", "party": 0,
    },
    "account_account": {
        "id": 0, "closed": False, "code": "", "company": COMPANY, **_STAMP, "name": "", "note": None, "type": 0,
        "reconcile": False, "party_required": False,
    },
    "account_account_type": {"id": 0, "company": COMPANY, **_STAMP, "name": "", "receivable": False},
    "account_invoice_payment_term": {"id": TERM, "active": True, **_STAMP, "description": None, "name": "Net 30"},
    "company_company": {"id": COMPANY, **_STAMP, "currency": CURRENCY, "party": 1, "timezone": None},
    "currency_currency": {
        "id": CURRENCY, "active": True, "code": "EUR", **_STAMP, "digits": 2, "name": "Euro", "numeric_code": None,
        "rounding": "0.01", "symbol": "E",
    },
}  # fmt: skip


def look_ups() -> list[tuple[str, Row]]:
    """(table, row) of the reference data that the lives rest on."""
    listed: list[tuple[str, Row]] = []

    def add(table: str, **values: Any) -> None:
        listed.append((table, EMPTY[table] | values))

    for key, name in ((1, "Cash"), (2, "Receivable"), (3, "Revenue")):
        add("account_account_type", id=key, name=name, receivable=key == 2)
    for key, name, kind in ((BANK, "Bank", 1), (RECEIVABLE, "Receivable", 2), (REVENUE, "Sales", 3), (TAX, "Tax", 3)):
        add("account_account", id=key, code=str(key), name=name, type=kind)
    for table in ("account_invoice_payment_term", "company_company", "currency_currency"):
        add(table)
    return listed


def customer(party: int, limit: int) -> list[tuple[str, Row]]:
    """(table, row) of a customer who may owe so much."""
    limits = "party_party_credit_limit_amount"
    return [
        ("party_party", EMPTY["party_party"] | {"id": party, "name": f"Customer {party}"}),
        ("party_address", EMPTY["party_address"] | {"id": party, "party": party}),
        (limits, EMPTY[limits] | {"id": party, "party": party, "credit_limit_amount": str(limit)}),
    ]
