"""What writing needs of a Tryton and of its user, each looked at by asking for it."""

from collections.abc import Collection
from typing import Any

from connectors.tryton.looking import rows
from connectors.tryton.needs import NEEDS, OVER_LIMIT, Group, Need, active_modules
from connectors.tryton.rpc import RpcError, Session, UserError
from connectors.tryton.settings import TargetOptions
from engine.ports.finding import Finding, Grade


def check(session: Session, options: TargetOptions) -> list[Finding]:
    """Every point, also after one that is not as it must be; a login that fails ends it."""
    try:
        session.login()
        active = active_modules(session, {name for need in NEEDS for name in _modules(need)})
        found = [Finding.well("target login", f"{options.user} on {options.url}/{options.database}")]
        found += [_met(session, need, active) for need in NEEDS]
    except RpcError as error:
        fix = "correct target.url, database, user or password, and see that Tryton answers"
        return [Finding.error("target login", str(error), fix)]
    if all(one.grade is not Grade.ERROR for one in found):
        try:
            found += [_method(session, options), *_journals(session, options), _blocked(session)]
        except RpcError as error:
            found.append(Finding.error("set-up", str(error), "see that Tryton answers, then check again"))
    return found


def _met(session: Session, need: Need, active: Collection[str]) -> Finding:
    """One kind of write. What everyone needs is an error; what some do not ask for, a warning."""
    wrong = Finding.error if need.vital else Finding.warning
    refused = "" if need.vital else "; intents that ask for it are refused"
    missing = next((module for module in _modules(need) if module not in active), None)
    if missing is not None and need is OVER_LIMIT:
        return Finding.well(need.what, f"no order is held back: the module {missing} is not active")
    if missing is not None:
        detail = f"Tryton's module {missing} is not active{refused}"
        return wrong(need.what, detail, f"activate the module {missing} in Tryton")
    asked = " and ".join(group.name for group in need.groups)
    join = f"put the user into Tryton's group {asked}"
    for model, right in need.rights.items():
        try:
            allowed = session.call("model.ir.model.access.get_access", [model])[model][right]
        except UserError as error:
            return wrong(need.what, f"{model}: {error}{refused}", join)
        if not allowed:
            return wrong(need.what, f"the user may not {right} {model}{refused}", join)
    for group in need.groups:
        if not _is_in(session, group):
            return wrong(need.what, f"the user is not in the group {group.name}{refused}", join)
    return Finding.well(need.what, f"module {need.module}, group {asked}")


def _modules(need: Need) -> tuple[str, ...]:
    return need.module, *(group.module for group in need.groups)


def _is_in(session: Session, group: Group) -> bool:
    numbers = (session.call("model.ir.model.data.get_id", group.module, name) for name in group.ids)
    return any(number in session.groups for number in numbers)


def _method(session: Session, options: TargetOptions) -> Finding:
    found = list(rows(session, "account.invoice.payment.method", [], ["name"]))
    wanted = options.payment_method
    named = [row for row in found if wanted in (None, row["name"], row["id"])]
    if not named:
        return Finding.error(
            "payment method",
            f"{wanted or 'none'} of {', '.join(row['name'] for row in found) or 'none'}",
            "add a payment method in Tryton, or name one of these as target.payment_method",
        )
    return Finding.well("payment method", named[0]["name"])


def _journals(session: Session, options: TargetOptions) -> list[Finding]:
    """What there is; or one finding for each currency in which several invoices could not be paid at once."""
    found = list(rows(session, "account.statement.journal", [], ["name", "currency.code"]))
    there = {(row["currency."]["code"], row["name"]) for row in found}
    told = ", ".join(f"{name} ({code})" for code, name in sorted(there)) or "none"
    findings = [
        Finding.error(
            f"statement journal for {code}",
            f"{name} is not among {told}",
            "name one of these in target.statement_journals, or add it in Tryton",
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
        findings.append(Finding.error("statement journal", f"none for {wanted}; there are {told}", fix))
    return findings or [Finding.well("statement journal", told)]


def _blocked(session: Session) -> Finding:
    """Drafts of other people with paid invoices: Tryton then lets no statement through without taking those off."""
    subject = "other people's draft statements"
    paid: list[Any] = [["statement.state", "=", "draft"], ["related_to.state", "=", "paid", "account.invoice"]]
    names = sorted({row["statement."]["rec_name"] for row in rows(session, "account.statement.line", paid,
                                                                  ["statement.rec_name"])})  # fmt: skip
    if names:
        return Finding.error(
            subject,
            f"{', '.join(names)} name invoices that are paid; Tryton refuses receipts for several invoices",
            "let a person finish these drafts in Tryton, or take the paid invoices off them",
        )
    return Finding.well(subject, "none names a paid invoice")
