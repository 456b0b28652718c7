"""Decides on what a comparison with the ERP's own API found: one conflict for each document, as long as it drifts.

Whoever compares must know that nothing of the document was on its way; a later comparison without a difference, or
the change stream's own word, closes the conflict again.
"""

from engine.model.events import DocumentCompared
from engine.model.records import ConflictKind
from engine.rules.conflicts import Problem, dismiss, open_conflicts, raise_conflict
from engine.rules.desk import Desk, plain
from engine.rules.policy import Choice


def take_comparison(desk: Desk, compared: DocumentCompared) -> None:
    """One document was compared."""
    known = [c for c in open_conflicts(desk) if c.kind is ConflictKind.DRIFT and c.document == compared.document]
    through = f"verified through position {compared.through}" if compared.through is not None else "verified"
    if not compared.differences:
        dismiss(desk, known, f"the ERP's API and the mirror agree again, {through}", compared.at)
        return
    kind, _, key = compared.document.partition("/")
    record = desk.invoice(key) if kind == "invoice" else None
    name = (record.doc.number or record.key) if record else compared.document
    words = "; ".join(f"{one.name} is {one.erp} there and {one.arsync} here" for one in compared.differences)
    problem = Problem(
        ConflictKind.DRIFT,
        "reconcile.differs",
        f"The ERP's API says otherwise of {name} than its change stream has told: {words}.",
        invoice=record,
        fields=tuple(one.name for one in compared.differences),
        # What is at stake is the money between both sides; customers owe in more than one currency.
        amount=max((one.amount for one in compared.differences if one.amount is not None), default=None)
        if record
        else None,
        subject=compared.document,
        erp=plain({one.name: one.erp for one in compared.differences}),
        ar=plain({one.name: one.arsync for one in compared.differences}),
    )
    raise_conflict(desk, problem, compared.at, able=(Choice.ACCEPT_ERP,))
