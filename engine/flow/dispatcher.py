"""Acts on the outside world: takes commands from the outbox to the ERP, and brings back what it answered.

The daemon runs `Dispatcher.run` in as many threads as the target allows. Its promises: `sent` is committed before the
first byte goes out; no database transaction is open during a call; a command that left once is looked up by its key
before it leaves again; an answer that was lost counts as not done only when the key is not there and nothing of it
can still be under way.
"""

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_fixed, wait_random_exponential

from engine.flow.entering import load_view, take_event
from engine.flow.gate import Gate, Limits
from engine.model.canonical import canonical_bytes
from engine.model.commands import Found, Outcome, OutcomeKind, SetCreditLimit
from engine.model.events import KeyLookedUp, OutcomeReceived, Timer, TimerFired
from engine.model.records import CommandRecord
from engine.ports.errors import Unavailable
from engine.ports.target import Guard, Target
from engine.rules.desk import Decision, View
from engine.rules.policy import Policy
from engine.store import brake, letters, outbox
from engine.store.position import told_until
from engine.store.unit import Connection, unit_of_work
from engine.store.unit import Unit as Work
from statemachines import CommandState

log = structlog.get_logger()
Clock = Callable[[], dt.datetime]

IDLE = 0.2
"""Seconds between two looks at an outbox in which nothing is due."""


class Errand(msgspec.Struct, frozen=True):
    """A command whose lease is held, as it stood when it was claimed.

    `look_first`: it may have left before, so its key is looked up before it is sent.
    """

    command: CommandRecord
    guard: Guard
    look_first: bool


class Dispatcher:
    """One worker of one system. Not shared between threads; each has a connection of its own."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        system: str,
        target: Target,
        policy: Policy,
        clock: Clock,
        *,
        owner: str,
        versions: dict[str, Any],
        gate: Gate | None = None,
        told: Callable[[str, float], None] | None = None,
    ) -> None:
        """`owner` names this worker in its leases; `told` is called with each outcome's kind and its seconds."""
        self._connect = connect
        self._connection: Connection | None = None
        self._system = system
        self._target = target
        self._policy = policy
        self._clock = clock
        self._owner = owner
        self._versions = versions
        self._gate = gate or Gate(system, Limits())
        self._told = told or (lambda _kind, _seconds: None)
        self._defect: str | None = None
        able = target.capabilities
        self._lease = 2 * able.deadline + dt.timedelta(seconds=5)
        # A send begins within half the deadline after its claim and takes up to the deadline; after its last byte the
        # ERP may still commit for `in_doubt_for`.
        self._in_doubt = able.deadline * 3 / 2 + able.in_doubt_for

    # Running.

    def run(self, stop: threading.Event, wake: threading.Event) -> None:
        """Work until `stop` is set; what is under way is finished, and its answer committed, before this returns."""
        try:
            for attempt in self._as_long_as_it_takes(stop):
                with attempt:
                    while not stop.is_set():
                        if not self.step():
                            wake.wait(min(IDLE, self._gate.seconds_to_wait(self._clock())))
                            wake.clear()
        except psycopg.OperationalError as error:
            log.warning("stopped while the store was away", system=self._system, error=str(error).strip())
        finally:
            self.close()

    def close(self) -> None:
        """Give back what is held."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            with connection, connection.cursor() as cursor:
                outbox.release(cursor, self._system, self._owner)
        except psycopg.OperationalError:
            connection.close()

    def recover(self) -> int:
        """Take over from workers that are known to be gone; returns how many commands they had under way.

        Only for who holds the system's lock. What was under way is unknown now and will be looked up.
        """
        with self._store().cursor() as cursor:
            outbox.forget_leases(cursor, self._system, self._owner)
            left = outbox.sent_by_others(cursor, self._system, self._owner)
        for key in left:
            self._fire(Timer.LEASE_EXPIRED, key)
        return len(left)

    def step(self) -> bool:
        """Do what is due by the clock, and run one errand; False when there was nothing to do."""
        now = self._clock()
        with self._store().cursor() as cursor:
            due = outbox.look_at_clock(cursor, self._system, now, now - self._policy.unknown_for)
            sending = self._gate.lets_through(now)
            ready = outbox.next_due(cursor, self._system, now, sending=sending) is not None
        for key in due.abandoned:
            self._fire(Timer.LEASE_EXPIRED, key)
        for key in due.stale:
            self._fire(Timer.RETRY_STALE, key)
        for key in due.unechoed:
            self._fire(Timer.ECHO_OVERDUE, key)
        for intent in due.waiting:
            self._fire(Timer.STILL_UNKNOWN, intent)
        for conflict in due.chosen:
            self._fire(Timer.APPLY_CHOICE, conflict)
        for key in due.dropped:
            self._fire(Timer.GIVEN_UP, key)
        if ready:
            errand = self._claim(sending=sending)
            if errand is not None:
                self._do(errand)
        return bool(due) or ready

    # Under the lease.

    def _claim(self, *, sending: bool = True) -> Errand | None:
        """Take the next command's lease; one that waits to be sent is decided once more and marked as sent."""
        now = self._clock()
        with unit_of_work(self._store(), self._system, now, self._versions, self._policy) as work:
            key = outbox.claim(work.cursor, self._system, self._owner, now, now + self._lease, sending=sending)
            if key is None:
                return None
            view = load_view(work.cursor, self._system, commands=[key])
            if view.commands[key].state == CommandState.PENDING:
                braked = self._brakes(work, view.commands[key])
                if not braked:
                    take_event(work, view, TimerFired(Timer.SEND, key, now), self._policy)
                if view.commands[key].state != CommandState.SENT:
                    outbox.release(work.cursor, self._system, self._owner, key)
                    return None
            command = view.commands[key]
            look_first = command.sends > 1 or work.may_have_forgotten
        if command.state == CommandState.SENT:
            self._gate.passed(now)
        return Errand(command, _guard(command, view), look_first)

    def _brakes(self, work: Work, command: CommandRecord) -> bool:
        """Whether this send would be too much within an hour: then the system is paused until a person looks."""
        limits = self._gate.limits
        why = brake.why_brake(
            work.cursor,
            self._system,
            work.now,
            command,
            commands_per_hour=limits.commands_per_hour,
            money_per_hour=limits.money_per_hour,
        )
        if why is None:
            return False
        brake.pause(work, "brake", why)
        log.error("the brake has paused this system; `arsync resume` lets it go on", system=self._system, why=why)
        return True

    def _do(self, errand: Errand) -> None:
        """Talk to the ERP, then commit what it said. No transaction is open in between."""
        command = errand.command
        began = self._clock()
        self._defect = None
        event: OutcomeReceived | KeyLookedUp
        if command.state == CommandState.UNKNOWN:
            event = self._look_up(command)
            said = "found" if event.found else "not_found"
        else:
            outcome = self._answer(errand)
            event = OutcomeReceived(command.key, command.fence, outcome, self._clock())
            said = str(outcome.kind)
            self._gate.answered(outcome.kind, event.at)
        seconds = (self._clock() - began).total_seconds()
        self._told(said, seconds)
        log.info("erp answered", system=self._system, command=command.key, intent=command.intent, said=said,
                 detail=_detail(event), seconds=round(seconds, 3))  # fmt: skip
        # This answer may be the only trace of money moved: it is kept trying until the store has it, or the process
        # ends; then the lease runs out and the key is looked up.
        for attempt in Retrying(
            retry=retry_if_exception_type(psycopg.OperationalError),
            wait=wait_random_exponential(multiplier=0.2, max=10),
            stop=lambda state: (state.seconds_since_start or 0) > self._lease.total_seconds(),
            before_sleep=self._away,
            reraise=True,
        ):
            with attempt:
                self._keep(command, event)

    def _answer(self, errand: Errand) -> Outcome:
        """What the target says. A defect in it says nothing: then only the ERP knows whether the write was done."""
        try:
            return self._send(errand) if errand.command.state == CommandState.SENT else self._go_on(errand)
        except Exception as error:
            log.exception("the target failed", system=self._system, command=errand.command.key)
            self._defect = f"the target failed with {type(error).__name__}: {error}"
            return Outcome(OutcomeKind.UNKNOWN, f"the target failed with {type(error).__name__}")

    def _send(self, errand: Errand) -> Outcome:
        """Send; what may have left before is looked up first."""
        command = errand.command
        if errand.look_first:
            try:
                found = self._target.find(command.key, command.write)
            except Unavailable as error:
                return Outcome(OutcomeKind.THROTTLED, f"not sent again, for its key cannot be looked up: {error}")
            if found is not None:
                return self._found(command, found)
        late = self._clock() - (command.sent_at or self._clock())
        if late > self._target.capabilities.deadline / 2:
            return Outcome(
                OutcomeKind.THROTTLED, f"not sent: {late.total_seconds():.0f} s passed since it was claimed"
            )
        return self._target.send(command.key, command.write, errand.guard)

    def _go_on(self, errand: Errand) -> Outcome:
        """Bring a write of several steps to its end."""
        command = errand.command
        try:
            found = self._target.find(command.key, command.write)
        except Unavailable as error:
            return Outcome(OutcomeKind.THROTTLED, str(error))
        if found is None:
            text = f"the ERP held {command.reference} under this key before, and holds it no longer"
            return Outcome(OutcomeKind.REJECTED, text, command.reference)
        return self._found(command, found)

    def _found(self, command: CommandRecord, found: Found) -> Outcome:
        if found.complete:
            return Outcome(OutcomeKind.ACCEPTED, "found by its key", found.reference)
        return self._target.resume(command.key, command.write, found)

    def _look_up(self, command: CommandRecord) -> KeyLookedUp:
        """Whether a lost answer stands for a write. What is asked before the time is over proves no absence."""
        asked_at = self._clock()
        over = command.sent_at is not None and asked_at >= command.sent_at + self._in_doubt
        try:
            found = self._target.find(command.key, command.write)
        except Unavailable as error:
            log.warning("key cannot be looked up now", system=self._system, command=command.key, error=str(error))
            return KeyLookedUp(command.key, command.fence, None, proves_absence=False, at=self._clock())
        except Exception as error:
            log.exception("the target failed", system=self._system, command=command.key)
            self._defect = f"the target failed with {type(error).__name__}: {error}"
            return KeyLookedUp(command.key, command.fence, None, proves_absence=False, at=self._clock())
        return KeyLookedUp(command.key, command.fence, found, found is None and over, self._clock())

    # Committing.

    def _keep(self, command: CommandRecord, event: OutcomeReceived | KeyLookedUp) -> None:
        """Commit what was said. A defect of the target is a dead letter too; it parks the command when it repeats."""
        with unit_of_work(self._store(), self._system, self._clock(), self._versions, self._policy) as work:
            view = load_view(work.cursor, self._system, commands=[command.key])
            _report(self._system, take_event(work, view, event, self._policy))
            if self._defect is None:
                # That a key can be looked up does not say that it can be sent.
                answered = isinstance(event, OutcomeReceived) or event.found is not None
                letters.heal(work.cursor, self._system, work.now, [f"command/{command.key}"] if answered else [])
            else:
                payload = canonical_bytes(command.write).decode()
                letters.keep(work.cursor, self._system, work.now, letters.LetterKind.COMMAND, origin="target",
                             reason=self._defect, payload=payload, document=f"command/{command.key}")  # fmt: skip
            outbox.release(work.cursor, self._system, self._owner, command.key)

    def _fire(self, timer: Timer, subject: str) -> None:
        now = self._clock()
        with unit_of_work(self._store(), self._system, now, self._versions, self._policy) as work:
            view = load_view(
                work.cursor,
                self._system,
                commands=[subject] if timer not in (Timer.STILL_UNKNOWN, Timer.APPLY_CHOICE) else (),
                intents=[subject] if timer is Timer.STILL_UNKNOWN else (),
                conflicts=[subject] if timer is Timer.APPLY_CHOICE else (),
            )
            fired = TimerFired(timer, subject, now)
            if timer is Timer.ECHO_OVERDUE and (told := told_until(work.cursor, self._system)) is not None:
                fired = msgspec.structs.replace(fired, told_until=told)
            _report(self._system, take_event(work, view, fired, self._policy))

    def _store(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._connect()
        return self._connection

    def _as_long_as_it_takes(self, stop: threading.Event) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(psycopg.OperationalError),
            wait=wait_fixed(1),
            stop=lambda _state: stop.is_set(),
            sleep=lambda seconds: _sleep(stop, seconds),
            before_sleep=self._away,
            reraise=True,
        )

    def _away(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("the store does not answer", system=self._system, error=str(error).strip())
        if self._connection is not None:
            self._connection.close()


def _guard(command: CommandRecord, view: View) -> Guard:
    """The tokens of every record that the command depends on."""
    guard: dict[str, str] = {}
    for allocation in command.write.allocations:
        record = view.invoices.get(allocation.invoice)
        guard |= record.guard if record else {}
    customer = view.customers.get(command.customer) if isinstance(command.write, SetCreditLimit) else None
    return guard | (customer.guard if customer else {})


def _detail(event: KeyLookedUp | OutcomeReceived) -> str:
    if isinstance(event, OutcomeReceived):
        return event.outcome.detail
    return event.found.reference if event.found else ""


def _report(system: str, decision: Decision) -> None:
    for conflict in decision.conflicts.values():
        log.warning("conflict", system=system, conflict=conflict.id, kind=str(conflict.kind), said=conflict.sentence)


def _sleep(stop: threading.Event, seconds: float) -> None:
    stop.wait(seconds)
