"""Which of Tryton's tables are captured and how their rows hang together; `mapping` gives them meaning."""

from engine.model.documents import DocumentKind
from engine.ports.mapping import Relation, TableSpec
from engine.ports.rows import KEY

INVOICE = "account_invoice"
INVOICE_LINE = "account_invoice_line"
INVOICE_TAX = "account_invoice_tax"
PAYMENT_LINK = "account_invoice-account_move_line"
ADDITIONAL_MOVE = "account_invoice-additional-account_move"
MOVE = "account_move"
LINE = "account_move_line"
RECONCILIATION = "account_move_reconciliation"
STATEMENT_LINE = "account_statement_line"
SALE = "sale_sale"
PARTY = "party_party"
ADDRESS = "party_address"
CONTACT = "party_contact_mechanism"
IDENTIFIER = "party_identifier"
LIMIT = "party_party_credit_limit_amount"
ACCOUNT = "account_account"
ACCOUNT_TYPE = "account_account_type"
TERM = "account_invoice_payment_term"
COMPANY = "company_company"
CURRENCY = "currency_currency"
RATE = "currency_currency_rate"

TABLES: tuple[TableSpec, ...] = (
    # The rendered report is a large blob that changes with every print and says nothing about the receivable.
    TableSpec(INVOICE, excluded=("invoice_report_cache",)),
    TableSpec(INVOICE_LINE),
    TableSpec(INVOICE_TAX),
    TableSpec(PAYMENT_LINK),
    TableSpec(ADDITIONAL_MOVE),
    TableSpec(MOVE),
    TableSpec(LINE, summed=True, owner="party"),
    TableSpec(RECONCILIATION),
    # The file that a statement was imported from.
    TableSpec("account_statement", optional=True, excluded=("origin_file",)),
    TableSpec(STATEMENT_LINE, optional=True),
    TableSpec(SALE, optional=True),
    TableSpec(PARTY, personal=KEY),
    TableSpec(ADDRESS, personal="party"),
    TableSpec(CONTACT, personal="party"),
    TableSpec(IDENTIFIER, optional=True, personal="party"),
    TableSpec(LIMIT, optional=True),
    TableSpec(ACCOUNT, lookup=True, watched=("type",)),
    TableSpec(ACCOUNT_TYPE, lookup=True, watched=("receivable",)),
    TableSpec(TERM, lookup=True, watched=("name",)),
    TableSpec(COMPANY, lookup=True, excluded=("header", "footer", "logo"), watched=("currency",)),
    TableSpec(CURRENCY, lookup=True, watched=("code", "digits", "rounding")),
    TableSpec(RATE, lookup=True, watched=("currency", "date", "rate"), watch_inserts=True),
)

RELATIONS: tuple[Relation, ...] = (
    Relation(INVOICE, KEY, PAYMENT_LINK, "invoice"),
    Relation(INVOICE, KEY, ADDITIONAL_MOVE, "invoice"),
    Relation(INVOICE, KEY, INVOICE_LINE, "invoice"),
    Relation(INVOICE, KEY, INVOICE_TAX, "invoice"),
    # Lines to pay: the invoice's own move and those that rescheduled it.
    Relation(INVOICE, "move", LINE, "move"),
    Relation(ADDITIONAL_MOVE, "move", LINE, "move"),
    # Payment lines.
    Relation(PAYMENT_LINK, "line", LINE, KEY),
    # What clears a line: its reconciliation, all lines of that, and whom it was delegated to.
    Relation(LINE, "reconciliation", RECONCILIATION, KEY),
    Relation(RECONCILIATION, KEY, LINE, "reconciliation"),
    Relation(RECONCILIATION, "delegate_to", LINE, KEY),
    # Whether those entries are final, and the text that carries our keys.
    Relation(LINE, "move", MOVE, KEY),
    Relation(MOVE, KEY, STATEMENT_LINE, "move"),
    Relation(PARTY, KEY, LIMIT, "party"),
    Relation(PARTY, KEY, ADDRESS, "party"),
    Relation(PARTY, KEY, CONTACT, "party"),
    Relation(PARTY, KEY, IDENTIFIER, "party"),
)

ROOTS: dict[str, DocumentKind] = {INVOICE: DocumentKind.INVOICE, PARTY: DocumentKind.CUSTOMER}
