"""Writes to a Tryton through JSON-RPC: the entry of this connector that the dispatcher calls.

Its promises: a receipt is booked once under its key; what other people have put into the books is never unlinked,
written off or confirmed on the way; and every answer, or none, becomes an outcome that says what it proves.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from connectors.tryton.applying import apply, find_receipt, find_reversal, reverse, settle
from connectors.tryton.blocking import find_block, set_block
from connectors.tryton.checking import check
from connectors.tryton.crediting import find_limit, find_release, release, set_limit
from connectors.tryton.entries import find_entry, post_entry
from connectors.tryton.finding import find, has_statements
from connectors.tryton.items import standing
from connectors.tryton.looking import INVOICE, look, misnamed, period_is_closed, refused, rows, stale, unsound
from connectors.tryton.memos import find_memo, follow, issue
from connectors.tryton.needs import missing_module
from connectors.tryton.paying import pay
from connectors.tryton.reading import read
from connectors.tryton.rpc import InternalError, RpcError, Session
from connectors.tryton.settings import TargetOptions, read_options
from connectors.tryton.statement import STATEMENT, post, remove_drafts, write_statement
from connectors.tryton.writing import Attempt, outcome_of
from engine.model.commands import (
    ApplyReceipt,
    Found,
    IssueMemo,
    Outcome,
    OutcomeKind,
    PostEntry,
    PostPayment,
    ReleaseOrder,
    ReverseApplication,
    SetBlock,
    SetCreditLimit,
    Write,
)
from engine.model.documents import DocumentKind
from engine.ports.errors import Unavailable
from engine.ports.finding import Finding
from engine.ports.target import Capabilities, Guard, Reading


class NotSetUpError(Exception):
    """Tryton lacks what a payment needs; the message names it and how to add it."""


class TrytonTarget:
    """One database of one server. Used by one thread at a time."""

    def __init__(self, options: TargetOptions) -> None:
        self._options = options
        self._session = Session(
            options.url,
            options.database,
            options.user,
            options.password,
            timeout=options.timeout,
            verify=options.trust(),
        )
        self._statements = False
        self._methods: dict[str, int] = {}
        self._journals: dict[tuple[str, str], Mapping[str, Any]] = {}

    @property
    def capabilities(self) -> Capabilities:
        """One send at a time: Tryton's strict sequences refuse writers side by side with HTTP 503."""
        options = self._options
        return Capabilities(
            compare_and_set=True,
            find_by_key=True,
            in_doubt_for=dt.timedelta(seconds=options.in_doubt_seconds),
            settle_time=dt.timedelta(seconds=options.settle_seconds),
            deadline=dt.timedelta(seconds=options.deadline_seconds),
            concurrency=1,
        )

    def send(self, key: str, write: Write, guard: Guard) -> Outcome:
        """Carry a write out: a receipt by the pay wizard or as a statement, all else by the calls of its own file."""
        trouble = unsound(write, guard)
        if trouble is not None:
            return refused(trouble)
        attempt = Attempt()
        with self._session.within(self._options.deadline_seconds):
            try:
                outcome = self._send(attempt, key, write, guard)
            except NotSetUpError as error:
                return refused(str(error))
            except RpcError as error:
                outcome = outcome_of(error, attempt)
                if isinstance(error, InternalError) and outcome.kind is OutcomeKind.THROTTLED:
                    # Tryton words no error for a model that it does not have; trying again would go on for ever.
                    missing = missing_module(self._session, write)
                    outcome = refused(missing) if missing is not None else outcome
            if outcome.kind is OutcomeKind.REJECTED:
                outcome = self._refused(outcome, write, guard)
            return outcome

    def find(self, key: str, write: Write) -> Found | None:
        """Look for a posted document that carries the key; where none can, for the value that was to be written."""
        if misnamed(write) is not None:
            return None  # such a write never leaves
        with self._session.within(self._options.deadline_seconds):
            try:
                return self._find(key, write)
            except RpcError as error:
                raise Unavailable(f"{self._options.url}: {error}") from None

    def resume(self, key: str, write: Write, found: Found) -> Outcome:  # noqa: ARG002 - the port's signature
        """Do what is missing of a write that was found begun."""
        attempt = Attempt()
        with self._session.within(self._options.deadline_seconds):
            try:
                return self._resume(attempt, write, found)
            except RpcError as error:
                outcome = outcome_of(error, attempt)
                return Outcome(outcome.kind, outcome.detail, found.reference)

    def read(
        self, kind: DocumentKind, *, after: str | None = None, keys: Sequence[str] | None = None
    ) -> list[Reading]:
        """What Tryton says of a page of documents, in the order of their ids."""
        with self._session.within(self._options.deadline_seconds):
            try:
                companies = self._session.call("model.company.company.search", [], 0, None, [["id", "ASC"]])
                return read(self._session, kind, companies, after, keys)
            except RpcError as error:
                raise Unavailable(f"{self._options.url}: {error}") from None

    def check(self) -> list[Finding]:
        """Whether this user of this Tryton can do what each kind of write needs."""
        with self._session.within(self._options.deadline_seconds):
            return check(self._session, self._options)

    def close(self) -> None:
        """Drop the connection."""
        self._session.close()

    def _send(self, attempt: Attempt, key: str, write: Write, guard: Guard) -> Outcome:
        session = self._session
        match write:
            case PostPayment():
                return self._send_payment(attempt, key, write, guard)
            case IssueMemo():
                return issue(session, attempt, key, write, guard)
            case SetBlock():
                return set_block(session, attempt, write, guard)
            case ApplyReceipt():
                return apply(session, attempt, write, guard, in_statements=self._has_statements())
            case ReverseApplication():
                return reverse(session, attempt, write, guard)
            case SetCreditLimit():
                return set_limit(session, attempt, write, guard)
            case ReleaseOrder():
                return release(session, attempt, write)
            case PostEntry():
                return post_entry(session, attempt, key, write, self._options.entry_journal)

    def _send_payment(self, attempt: Attempt, key: str, write: PostPayment, guard: Guard) -> Outcome:
        if self._has_statements():
            # Left by an attempt that was cut off; a person could validate it, also when this one goes another way.
            remove_drafts(self._session, key)
        seen = look(self._session, write, guard)
        if seen.outcome is not None:
            return seen.outcome
        twice = standing(self._session, write, in_statements=self._has_statements())
        if twice is not None:
            return Outcome(OutcomeKind.REJECTED, twice, reason="duplicate_receipt")
        given_up = any(allocation.written_off for allocation in write.allocations)
        if len(seen.invoices) == 1 and not given_up and not write.on_account:
            method = self._method(write.company)
            return pay(self._session, attempt, key, write, seen.invoices[0], method, guard)
        journal = self._journal(write.company, write.currency)
        losses = self._losses(write.company) if given_up else None
        return write_statement(self._session, attempt, key, write, seen.invoices, journal, losses, guard)

    def _find(self, key: str, write: Write) -> Found | None:
        session = self._session
        match write:
            case PostPayment():
                return find(session, key, in_statements=self._has_statements())
            case IssueMemo():
                return find_memo(session, key, write)
            case SetBlock():
                return find_block(session, write)
            case ApplyReceipt():
                return find_receipt(session, write, in_statements=self._has_statements())
            case ReverseApplication():
                return find_reversal(session, write)
            case SetCreditLimit():
                return find_limit(session, write)
            case ReleaseOrder():
                return find_release(session, write)
            case PostEntry():
                return find_entry(session, key)

    def _resume(self, attempt: Attempt, write: Write, found: Found) -> Outcome:
        model, _, number = found.reference.partition(",")
        if isinstance(write, IssueMemo):
            trouble = follow(self._session, attempt, write, int(number))
            if trouble is not None:
                return Outcome(OutcomeKind.REJECTED, trouble, found.reference)
            return Outcome(OutcomeKind.ACCEPTED, "posted, and all that follows it is done", found.reference)
        if isinstance(write, ApplyReceipt):
            return settle(self._session, attempt, write, int(number))
        if model != STATEMENT:
            text = f"{found.reference} carries the key and is not posted; arsync did not leave it so"
            return Outcome(OutcomeKind.REJECTED, text, found.reference)
        state = post(self._session, attempt, int(number))
        if state != "posted":
            text = f"{found.reference} is {state or 'deleted'} in Tryton; somebody took back what arsync had applied"
            return Outcome(OutcomeKind.REJECTED, text, found.reference)
        return Outcome(OutcomeKind.ACCEPTED, "posted as a statement", found.reference)

    def _refused(self, outcome: Outcome, write: Write, guard: Guard) -> Outcome:
        """Why Tryton refused. Its text is in the user's language, so the cause is asked for, not read out of it.

        Something may have moved between the last look and the write: then it is stale, whatever Tryton said.
        """
        # What was kept of the set-up may be what it refused.
        self._statements = False
        self._methods.clear()
        self._journals.clear()
        try:
            again = stale(self._session, write, guard) if write.allocations else None
            if isinstance(again, Outcome):
                return again
            day = write.date if isinstance(write, PostPayment | IssueMemo | PostEntry) else None
            closed = (
                outcome.reason is None and day is not None and period_is_closed(self._session, write.company, day)
            )
        except RpcError:
            return outcome
        return Outcome(outcome.kind, outcome.detail, reason="period_closed") if closed else outcome

    def _has_statements(self) -> bool:
        if not self._statements:
            self._statements = has_statements(self._session)
        return self._statements

    def _method(self, company: str) -> int:
        """The payment method: the one that was named, or the oldest of the company."""
        if company not in self._methods:
            domain = [["company", "=", int(company)]]
            found = list(rows(self._session, f"{INVOICE}.payment.method", domain, ["name"]))
            named = [row for row in found if self._options.payment_method in (None, row["name"], row["id"])]
            if not named:
                wanted = self._options.payment_method or "no payment method"
                raise NotSetUpError(
                    f"Tryton's company {company} has not the payment method {wanted}; add it in Tryton, or name one "
                    f"of {', '.join(row['name'] for row in found) or 'those it will have'} as target.payment_method"
                )
            self._methods[company] = int(named[0]["id"])
        return self._methods[company]

    def _losses(self, company: str) -> int:
        """The account of the write-off method: the one that was named, or the oldest of the company."""
        wanted = self._options.write_off
        domain = [["company", "=", int(company)]]
        found = list(rows(self._session, "account.move.reconcile.write_off", domain, ["name", "debit_account"]))
        named = [row for row in found if wanted in (None, row["name"])]
        if not named:
            raise NotSetUpError(
                f"Tryton's company {company} has no write-off method {wanted or ''}, and a deduction to be given up "
                "needs one; add it in Tryton, or name it as target.write_off"
            )
        return int(named[0]["debit_account"])

    def _journal(self, company: str, currency: str) -> Mapping[str, Any]:
        """The statement journal of a currency: the one that was named, or the oldest."""
        if (company, currency) not in self._journals:
            if not self._has_statements():
                raise NotSetUpError(
                    "A receipt for several invoices needs Tryton's module account_statement; activate it"
                )
            wanted = self._options.statement_journals.get(currency)
            domain = [["company", "=", int(company)], ["currency.code", "=", currency]]
            found = list(rows(self._session, f"{STATEMENT}.journal", domain, ["name", "validation"]))
            named = [row for row in found if wanted in (None, row["name"])]
            if not named:
                raise NotSetUpError(
                    f"Tryton's company {company} has no statement journal {wanted or ''} in {currency}, and a "
                    "receipt for several invoices needs one; add it, or name it in target.statement_journals"
                )
            self._journals[company, currency] = named[0]
        return self._journals[company, currency]


def open_target(options: Mapping[str, Any]) -> TrytonTarget:
    """The target of a system's `target` section. Makes no call.

    Raises:
        ConfigError: a setting is missing, unknown or wrong.
    """
    return TrytonTarget(read_options(options))
