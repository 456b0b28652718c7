"""Holds every document of the store against what the ERP's own API says of it.

`arsync reconcile` calls it, beside a running daemon or without one. What differs is read again, once the change
stream had time to bring it: what is only on its way is no difference.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal

import msgspec

from engine.model.documents import Customer, DocumentKind, Invoice
from engine.ports.target import Reading, Target

Kept = Callable[[DocumentKind, Sequence[str] | None], dict[str, Invoice | Customer]]
"""Reads the store's documents of a kind: these keys, or all."""


class Difference(msgspec.Struct, frozen=True):
    """One field of one document; `erp` and `arsync` are None where that side does not have the document."""

    kind: DocumentKind
    key: str
    number: str | None
    field: str
    erp: str | None
    arsync: str | None


class Compared(msgspec.Struct, frozen=True):
    """How many documents were held against the ERP's word, and what is different."""

    invoices: int
    customers: int
    differences: tuple[Difference, ...]


def reconcile(
    target: Target,
    kept: Kept,
    *,
    patience: float,
    told: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Compared:
    """Compare every invoice and customer.

    `patience` (seconds) is how long a difference may take to go away; `told` hears of the progress.

    Raises:
        Unavailable: the ERP cannot be read now.
    """
    counts: dict[DocumentKind, int] = {}
    found: list[Difference] = []
    for kind in (DocumentKind.INVOICE, DocumentKind.CUSTOMER):
        counts[kind], differences = _compare_all(target, kept, kind, told)
        waited, pause = 0.0, 1.0
        while differences and waited < patience:
            told(f"{len({one.key for one in differences})} {kind}s differ; they are looked at again in {pause:.0f} s")
            sleep(pause)
            waited, pause = waited + pause, min(pause * 2, 10.0)
            parts = _parts(sorted({one.key for one in differences}))
            differences = [
                d for keys in parts for d in _compare(kind, target.read(kind, keys=keys), kept(kind, keys))
            ]
        found += differences
    return Compared(counts[DocumentKind.INVOICE], counts[DocumentKind.CUSTOMER], tuple(found))


def _compare_all(
    target: Target, kept: Kept, kind: DocumentKind, told: Callable[[str], None]
) -> tuple[int, list[Difference]]:
    """Page by page through the ERP; then what only the store has."""
    seen: set[str] = set()
    differences: list[Difference] = []
    after: str | None = None
    while page := target.read(kind, after=after):
        keys = [reading.key for reading in page]
        differences += _compare(kind, page, kept(kind, keys))
        seen.update(keys)
        after = keys[-1]
        told(f"{len(seen)} {kind}s compared")
    ours = kept(kind, None)
    differences += _compare(kind, [], {key: doc for key, doc in ours.items() if key not in seen})
    return len(seen | set(ours)), differences


def _compare(
    kind: DocumentKind, readings: Iterable[Reading], documents: dict[str, Invoice | Customer]
) -> list[Difference]:
    differences = []
    left = dict(documents)
    for reading in readings:
        doc = left.pop(reading.key, None)
        number = str(reading.facts["number"]) if reading.facts.get("number") else None
        if doc is None:
            differences.append(Difference(kind, reading.key, number, "document", "there", None))
            continue
        ours = _facts(doc)
        for name, value in reading.facts.items():
            erp, own = _text(value), _text(ours.get(name, _absent(name)))
            if erp != own:
                differences.append(Difference(kind, reading.key, number, name, erp, own))
    for key, doc in left.items():
        number = doc.number if isinstance(doc, Invoice) else None
        differences.append(Difference(kind, key, number, "document", None, "there"))
    return differences


def _facts(doc: Invoice | Customer) -> dict[str, object]:
    if isinstance(doc, Invoice):
        return msgspec.structs.asdict(doc)
    facts: dict[str, object] = {"active": doc.active}
    for account in doc.accounts:
        facts[f"receivable/{account.company}"] = account.receivable
        facts[f"credit_limit/{account.company}"] = account.credit_limit
    return facts


def _absent(name: str) -> object:
    """What a customer without an account at a company has there."""
    return Decimal(0) if name.startswith("receivable/") else None


def _parts(keys: Sequence[str], most: int = 200) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), most):
        yield keys[start : start + most]


def _text(value: object) -> str | None:
    """One spelling for both sides."""
    if isinstance(value, Decimal):
        return f"{value.normalize():f}" if value else "0"
    return None if value is None else str(value)
