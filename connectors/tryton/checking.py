"""What a payment needs of a Tryton and of the user who books it, each looked at by asking for it."""

from connectors.tryton.looking import rows
from connectors.tryton.rpc import InternalError, RpcError, Session, UserError
from connectors.tryton.settings import TargetOptions
from engine.ports.target import Finding

_NEEDED = {
    "account.invoice": ("account_invoice", "Accounting"),
    "account.move": ("account", "Accounting"),
    "account.move.line": ("account", "Accounting"),
    "account.period": ("account", "Accounting"),
    "account.invoice.payment.method": ("account_invoice", "Accounting"),
    "account.statement": ("account_statement", "Statement"),
    "account.statement.line": ("account_statement", "Statement"),
    "account.statement.journal": ("account_statement", "Statement"),
}


def check(session: Session, options: TargetOptions) -> list[Finding]:
    """Every point, also after one that is not as it must be; a login that fails ends it."""
    try:
        session.login()
    except RpcError as error:
        return [Finding("login", ok=False, detail=str(error), fix="mend target.url, database, user or password")]
    found = [Finding("login", ok=True, detail=f"{options.user} on {options.url}/{options.database}")]
    found += [_readable(session, model, *names) for model, names in _NEEDED.items()]
    if all(one.ok for one in found):
        found += [_method(session, options), _journals(session)]
    return found


def _readable(session: Session, model: str, module: str, group: str) -> Finding:
    try:
        session.call(f"model.{model}.search", [], 0, 1, None)
    except InternalError as error:
        return Finding(model, ok=False, detail=str(error), fix=f"activate Tryton's module {module}")
    except UserError as error:
        return Finding(model, ok=False, detail=str(error), fix=f"put the user into Tryton's group {group}")
    except RpcError as error:
        return Finding(model, ok=False, detail=str(error), fix="see that Tryton answers, then check again")
    return Finding(model, ok=True, detail="can be read")


def _method(session: Session, options: TargetOptions) -> Finding:
    names = [row["name"] for row in rows(session, "account.invoice.payment.method", [], ["name"])]
    wanted = options.payment_method
    if not names or (wanted is not None and wanted not in names):
        return Finding(
            "payment method",
            ok=False,
            detail=f"{wanted or 'none'} of {', '.join(names) or 'none'}",
            fix="add a payment method in Tryton, or name one of these as target.payment_method",
        )
    return Finding("payment method", ok=True, detail=wanted or names[0])


def _journals(session: Session) -> Finding:
    found = list(rows(session, "account.statement.journal", [], ["name", "currency.code"]))
    if not found:
        fix = "add a statement journal for each currency in Tryton; without one a receipt can pay one invoice only"
        return Finding("statement journal", ok=False, detail="none", fix=fix)
    told = ", ".join(f"{row['name']} ({row['currency.']['code']})" for row in found)
    return Finding("statement journal", ok=True, detail=told)
