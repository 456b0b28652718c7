"""An entry of the general ledger: a move of its own whose description is the key.

A draft changes no books: it counts as nothing done, and one that was left behind is removed before the next is made.
"""

from typing import Any

from connectors.tryton.looking import refused, rows
from connectors.tryton.rpc import Session
from connectors.tryton.writing import Attempt
from engine.model.commands import Found, Outcome, OutcomeKind, PostEntry

MOVE = "account.move"


def find_entry(session: Session, key: str) -> Found | None:
    """The posted move with this key."""
    for row in rows(session, MOVE, [["description", "=", key], ["state", "=", "posted"]], ["state"]):
        return Found(f"{MOVE},{row['id']}")
    return None


def post_entry(session: Session, attempt: Attempt, key: str, write: PostEntry, journal: str | None) -> Outcome:
    """Make the draft and post it. `journal` is the name of the one to use; else the oldest general one is taken."""
    _remove_drafts(session, key)
    company = int(write.company)
    (own,) = session.call("model.company.company.read", [company], ["currency.code"])
    if own["currency."]["code"] != write.currency:
        return refused(f"company {company} keeps its books in {own['currency.']['code']}, not in {write.currency}")
    accounts = {}
    for code in dict.fromkeys(line.account for line in write.lines):
        domain = [["code", "=", code], ["company", "=", company], ["type", "!=", None]]
        found = session.call("model.account.account.search", domain, 0, 2, None)
        if len(found) != 1:
            return refused(
                f"company {company} has {len(found)} accounts of number {code}; an entry needs exactly one"
            )
        accounts[code] = found[0]
    domain = [["name", "=", journal]] if journal else [["type", "=", "general"]]
    journals = session.call("model.account.journal.search", domain, 0, 1, [["id", "ASC"]])
    period = session.call("model.account.period.search", [
        ["company", "=", company], ["start_date", "<=", write.date], ["end_date", ">=", write.date],
        ["type", "=", "standard"]], 0, 1, None)  # fmt: skip
    if not journals or not period:
        lacking = f"the journal {journal or 'of type general'}" if not journals else f"a period for {write.date}"
        return refused(f"Tryton's company {company} lacks {lacking}")
    lines: list[dict[str, Any]] = [
        {
            "account": accounts[line.account],
            "debit": line.debit,
            "credit": line.credit,
            "party": int(line.customer) if line.customer else None,
            "description": write.reference or key,
        }
        for line in write.lines
    ]
    values = {
        "company": company,
        "journal": journals[0],
        "period": period[0],
        "date": write.date,
        "description": key,
        "lines": [["create", lines]],
    }
    (move,) = session.call(f"model.{MOVE}.create", [values])
    attempt.writes()
    session.call(f"model.{MOVE}.post", [move])
    return Outcome(OutcomeKind.ACCEPTED, "posted", f"{MOVE},{move}")


def _remove_drafts(session: Session, key: str) -> None:
    domain = [["description", "=", key], ["state", "=", "draft"]]
    for row in list(rows(session, MOVE, domain, ["create_uid", "_timestamp"])):
        if row["create_uid"] == session.user_id:
            tokens = {"_timestamp": {f"{MOVE},{row['id']}": row["_timestamp"]}}
            session.call(f"model.{MOVE}.delete", [row["id"]], context=tokens)
