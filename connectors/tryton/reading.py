"""What Tryton's API says of invoices and customers, in the words of the canonical documents. Only to be compared."""

from collections.abc import Sequence
from typing import Any, Final

from connectors.tryton.looking import INVOICE
from connectors.tryton.rpc import Session
from engine.model.documents import DocumentKind
from engine.ports.target import Reading

PARTY: Final = "party.party"
PAGE: Final = 200


def read(
    session: Session, kind: DocumentKind, companies: Sequence[int], after: str | None, keys: Sequence[str] | None
) -> list[Reading]:
    """See `Target.read`; pages go by id. `companies` are those that the user belongs to. Raises `RpcError`."""
    place: list[Any] = [["id", ">", int(after or 0)]] if keys is None else [["id", "in", [int(key) for key in keys]]]
    return _invoices(session, place) if kind is DocumentKind.INVOICE else _customers(session, place, companies)


def _invoices(session: Session, place: list[Any]) -> list[Reading]:
    names = ["number", "party", "currency.code", "total_amount", "amount_to_pay", "state"]
    found = _page(session, INVOICE, [["type", "=", "out"], *place], names, {})
    return [
        Reading(
            str(row["id"]),
            {
                "number": row["number"],
                "customer": str(row["party"]),
                "currency": row["currency."]["code"],
                "total_amount": row["total_amount"],
                "open_amount": row["amount_to_pay"],
                "erp_state": row["state"],
            },
        )
        for row in found
    ]


def _customers(session: Session, place: list[Any], companies: Sequence[int]) -> list[Reading]:
    facts: dict[str, dict[str, object]] = {}
    for company in companies:
        names = ["active", "receivable", "credit_limit_amount"]
        domain = [["active", "in", [True, False]], *place]
        for row in _page(session, PARTY, domain, names, {"company": company}):
            known = facts.setdefault(str(row["id"]), {"active": row["active"]})
            known[f"receivable/{company}"] = row["receivable"]
            known[f"credit_limit/{company}"] = row["credit_limit_amount"]
    return [Reading(key, said) for key, said in facts.items()]


def _page(
    session: Session, model: str, domain: list[Any], names: list[str], context: dict[str, Any]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = session.call(
        f"model.{model}.search_read", domain, 0, PAGE, [["id", "ASC"]], names, context=context
    )
    return found
