"""What a payment needs of a Tryton and of the user who books it, each looked at by asking for it."""

from collections.abc import Mapping
from typing import Any

from connectors.tryton.finding import has_statements
from connectors.tryton.looking import rows
from connectors.tryton.rpc import InternalError, RpcError, Session, UserError
from connectors.tryton.settings import TargetOptions
from engine.ports.target import Finding

_INVOICES = {
    "account.invoice": ("account_invoice", "Accounting", "write"),
    "account.move": ("account", "Accounting", "create"),
    "account.move.line": ("account", "Accounting", "create"),
    "account.period": ("account", "Accounting", "read"),
    "account.invoice.payment.method": ("account_invoice", "Accounting", "read"),
}
_STATEMENTS = {
    "account.statement": ("account_statement", "Statement", "delete"),
    "account.statement.line": ("account_statement", "Statement", "create"),
    "account.statement.journal": ("account_statement", "Statement", "read"),
}
"""Model: module, group, and the greatest right that writing a payment takes. A draft of its own is deleted again."""


def check(session: Session, options: TargetOptions) -> list[Finding]:
    """Every point, also after one that is not as it must be; a login that fails ends it."""
    try:
        session.login()
        with_statements = has_statements(session)
    except RpcError as error:
        return [Finding("login", ok=False, detail=str(error), fix="mend target.url, database, user or password")]
    found = [Finding("login", ok=True, detail=f"{options.user} on {options.url}/{options.database}")]
    found += _usable(session, _INVOICES)
    if with_statements:
        found += _usable(session, _STATEMENTS)
    else:
        fix = "activate Tryton's module account_statement; without it a receipt can pay one invoice only"
        found.append(Finding("account.statement", ok=False, detail="its module is not active", fix=fix))
    if all(one.ok for one in found):
        try:
            found += [_method(session, options), *_journals(session, options), _blocked(session)]
        except RpcError as error:
            found.append(
                Finding("set-up", ok=False, detail=str(error), fix="see that Tryton answers, then check again")
            )
    return found


def _usable(session: Session, models: Mapping[str, tuple[str, str, str]]) -> list[Finding]:
    return [_allowed(session, model, *needs) for model, needs in models.items()]


def _allowed(session: Session, model: str, module: str, group: str, right: str) -> Finding:
    join = f"put the user into Tryton's group {group}"
    try:
        session.call(f"model.{model}.search", [], 0, 1, None)
        rights = session.call("model.ir.model.access.get_access", [model])[model]
    except InternalError as error:
        return Finding(model, ok=False, detail=str(error), fix=f"activate Tryton's module {module}")
    except UserError as error:
        return Finding(model, ok=False, detail=str(error), fix=join)
    except RpcError as error:
        return Finding(model, ok=False, detail=str(error), fix="see that Tryton answers, then check again")
    if not rights[right]:
        return Finding(model, ok=False, detail=f"the user may read it, but not {right}", fix=join)
    return Finding(model, ok=True, detail=f"may {right}")


def _method(session: Session, options: TargetOptions) -> Finding:
    found = list(rows(session, "account.invoice.payment.method", [], ["name"]))
    wanted = options.payment_method
    named = [row for row in found if wanted in (None, row["name"], row["id"])]
    if not named:
        return Finding(
            "payment method",
            ok=False,
            detail=f"{wanted or 'none'} of {', '.join(row['name'] for row in found) or 'none'}",
            fix="add a payment method in Tryton, or name one of these as target.payment_method",
        )
    return Finding("payment method", ok=True, detail=named[0]["name"])


def _journals(session: Session, options: TargetOptions) -> list[Finding]:
    """What there is; or one finding for each currency in which several invoices could not be paid at once."""
    found = list(rows(session, "account.statement.journal", [], ["name", "currency.code"]))
    there = {(row["currency."]["code"], row["name"]) for row in found}
    told = ", ".join(f"{name} ({code})" for code, name in sorted(there)) or "none"
    findings = [
        Finding(
            f"statement journal for {code}",
            ok=False,
            detail=f"{name} is not among {told}",
            fix="name one of these in target.statement_journals, or add it in Tryton",
        )
        for code, name in options.statement_journals.items()
        if (code, name) not in there
    ]
    codes = {code for code, _ in there}
    lacking = [["type", "=", "out"], ["state", "=", "posted"], ["currency.code", "not in", sorted(codes)]]
    without = session.call("model.account.invoice.search_read", lacking, 0, 1, None, ["currency.code"])
    if not codes or without:
        wanted = without[0]["currency."]["code"] if without else "any currency"
        fix = "add a statement journal for it in Tryton; without one a receipt can pay one invoice only"
        findings.append(
            Finding("statement journal", ok=False, detail=f"none for {wanted}; there are {told}", fix=fix)
        )
    return findings or [Finding("statement journal", ok=True, detail=told)]


def _blocked(session: Session) -> Finding:
    """Drafts of other people with paid invoices: Tryton then lets no statement through without taking those off."""
    subject = "other people's draft statements"
    paid: list[Any] = [["statement.state", "=", "draft"], ["related_to.state", "=", "paid", "account.invoice"]]
    names = sorted({row["statement."]["rec_name"] for row in rows(session, "account.statement.line", paid,
                                                                  ["statement.rec_name"])})  # fmt: skip
    if names:
        return Finding(
            subject,
            ok=False,
            detail=f"{', '.join(names)} name invoices that are paid; Tryton refuses receipts for several invoices",
            fix="let a person finish these drafts in Tryton, or take the paid invoices off them",
        )
    return Finding(subject, ok=True, detail="none names a paid invoice")
