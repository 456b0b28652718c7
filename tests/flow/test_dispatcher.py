"""Every way in which a send can end: nothing is written twice, nothing is lost, and nothing leaves unrecorded."""

import datetime as dt
import json
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from engine.app.wiring import enter_system
from engine.flow import choosing
from engine.flow.dispatcher import Dispatcher
from engine.flow.gate import Gate, Limits
from engine.flow.intake import submit
from engine.model.commands import Found, Outcome, OutcomeKind, Write, command_key
from engine.model.intents import Allocation, ApplyPayment
from engine.model.records import ConflictRecord
from engine.ports.target import Guard
from engine.rules.policy import Policy
from engine.store import brake, intent_queries, letters, records
from engine.store.journal import verify_chain
from engine.store.letters import PARKING_DEFECTS, Letter
from engine.store.unit import Connection, unit_of_work
from tests.flow.erp_with_faults import DAY, Clock, FaultyErp

RETRY = 5.0


class House:
    """A store, an ERP that may fail, and a dispatcher that is stepped by hand."""

    def __init__(self, connection: Connection, connect: Callable[[], Connection], system: str) -> None:
        self.connection, self.connect, self.system = connection, connect, system
        enter_system(connection, system, "none")
        self.clock = Clock()
        self.erp = FaultyErp(system)
        self.dispatcher = self.another("1/0")

    def another(self, owner: str, gate: Gate | None = None) -> Dispatcher:
        return Dispatcher(
            self.connect, self.system, self.erp, Policy(), self.clock, owner=owner, versions={}, gate=gate
        )

    def gated(self, *, observe: bool = False, **limits: Any) -> None:
        """Go on with a dispatcher that is bounded."""
        self.dispatcher = self.another("1/0", Gate(self.system, Limits(**limits), observe=observe))

    def sends(self) -> int:
        return sum(call.startswith("send") for call in self.erp.calls)

    def paused(self) -> brake.Paused | None:
        with self.connection.cursor() as cursor:
            return brake.paused(cursor, self.system)

    def resume(self) -> None:
        with unit_of_work(self.connection, self.system, self.clock()) as work:
            assert brake.resume(work, "a person")

    def invoice(self, key: str, amount: str = "100.00", customer: str = "7") -> None:
        self.erp.open_invoice(key, amount, customer)
        self.erp.tell(self.connection, self.clock, key)

    def pay(self, name: str, **amounts: str) -> str:
        """Submit an intent on what the store knows now; gives its command's key."""
        keys = [key.removeprefix("i") for key in amounts]
        with self.connection.cursor() as cursor:
            known = records.load_invoices(cursor, self.system, keys, lock=False)
        allocations = tuple(
            Allocation(key, Decimal(amount), known[key].version)
            for key, amount in zip(keys, amounts.values(), strict=True)
        )
        total = sum((a.amount for a in allocations), Decimal(0))
        customer = known[keys[0]].doc.customer
        intent = ApplyPayment(
            id=name,
            system=self.system,
            customer=customer,
            currency="EUR",
            amount=total,
            date=DAY,
            allocations=allocations,
        )
        submit(self.connection, self.system, [intent], Policy(), self.clock, {})
        return command_key(self.system, name, 0)

    def steps(self, most: int = 20) -> None:
        """Step until nothing is due."""
        for _ in range(most):
            if not self.dispatcher.step():
                return
        pytest.fail("the dispatcher does not come to rest")

    def drain(self, *keys: str) -> None:
        """Let the stream show everything and all timers come, again and again."""
        for _ in range(6):
            self.erp.tell(self.connection, self.clock, *(keys or self.erp.invoices))
            self.clock.pass_(RETRY)
            self.steps()

    def command(self, key: str) -> Any:
        with self.connection.cursor() as cursor:
            return records.load_commands(cursor, self.system, keys=[key])[key]

    def intent(self, name: str) -> str:
        with self.connection.cursor() as cursor:
            return records.load_intents(cursor, self.system, [name])[name].state

    def conflicts(self, name: str) -> list[str]:
        with self.connection.cursor() as cursor:
            return sorted(str(c.kind) for c in records.load_conflicts(cursor, self.system, [name]).values())

    def open_conflict(self, name: str) -> ConflictRecord:
        """The one conflict about an intent that somebody has to choose about."""
        with self.connection.cursor() as cursor:
            (found,) = [c for c in records.load_conflicts(cursor, self.system, [name]).values() if c.open]
        return found

    def choose(self, name: str, choice: str) -> choosing.Settled:
        return choosing.choose(
            self.connection, self.system, self.open_conflict(name).id, choice, actor="a person", reason="looked into",
            policy=Policy(), clock=self.clock, versions={}, at_once=True,
        )  # fmt: skip

    def letters(self) -> list[Letter]:
        with self.connection.cursor() as cursor:
            return letters.find(cursor, letters.Filter(system=self.system))

    def lease(self, key: str) -> tuple[str | None, dt.datetime | None]:
        row = self.connection.execute(
            "SELECT lease_owner, lease_until FROM command WHERE system = %s AND key = %s AND current",
            (self.system, key),
        ).fetchone()
        assert row is not None
        return row[0], row[1]


@pytest.fixture
def house(connection: Connection, store_dsn: str, request: pytest.FixtureRequest) -> Iterator[House]:
    opened: list[Connection] = []

    def connect() -> Connection:
        opened.append(psycopg.connect(store_dsn, autocommit=True))
        return opened[-1]

    made = House(connection, connect, request.node.name.replace("[", "-").replace("]", ""))
    yield made
    for stream in (f"{made.system}/outcomes", f"{made.system}/intents", f"{made.system}/operators"):
        rows = connection.execute(
            """SELECT stream, seq, system, batch, place, at, kind, body, previous, hash FROM journal WHERE stream = %s
               ORDER BY seq""", (stream,)).fetchall()  # fmt: skip
        assert verify_chain(rows) is None
    for one in opened:
        one.close()


def test_a_payment_is_sent_once_and_confirmed_by_its_echo(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.steps()
    assert house.command(key).state == "accepted"
    assert house.lease(key) == (None, None)
    house.drain()
    assert (house.command(key).state, house.intent("p")) == ("confirmed", "done")
    assert house.erp.effects == [(key, "1", Decimal("100.00"))]
    assert house.erp.calls == [f"send {key}"]


def test_sent_is_on_record_before_the_first_byte_and_no_transaction_is_open(house: House, store_dsn: str) -> None:
    house.invoice("1")
    house.pay("p", i1="100.00")
    seen: list[tuple[str, int]] = []
    plain = house.erp.send

    def send(key: str, write: Write, guard: Guard) -> Outcome:
        busy = house.connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        ).fetchone()
        assert busy is not None
        seen.append((house.command(key).state, busy[0]))
        return plain(key, write, guard)

    house.erp.send = send  # type: ignore[method-assign]
    house.steps()
    assert seen == [("sent", 0)]


@pytest.mark.parametrize("fault", ["lost_after", "half"])
def test_what_was_done_without_an_answer_is_found_and_not_sent_again(house: House, fault: str) -> None:
    house.invoice("1")
    key = house.pay("p", i1="60.00")
    house.erp.faults = [fault]
    house.steps()
    assert house.command(key).state == "unknown"
    house.drain()
    assert (house.command(key).state, house.intent("p")) == ("confirmed", "done")
    assert house.erp.effects == [(key, "1", Decimal("60.00"))]
    assert house.erp.calls.count(f"send {key}") == 1
    assert house.conflicts("p") == []


def test_absence_is_proven_only_when_nothing_can_still_come(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.erp.faults = ["lost_before"]
    house.steps()
    house.clock.pass_(60)
    house.steps()
    assert house.command(key).state == "unknown", "the deadline and the time in doubt are not over"
    assert house.erp.calls.count(f"send {key}") == 1
    house.clock.pass_(15)
    house.steps()
    assert house.erp.calls[-2:] == [f"find {key}", f"send {key}"], "looked up once more before it is sent again"
    house.drain()
    assert house.intent("p") == "done"
    assert len(house.erp.effects) == 1


def test_a_write_that_commits_late_is_found(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.erp.faults = ["late"]
    house.steps()
    house.clock.pass_(50)
    house.steps()
    house.erp.commit_late()
    house.clock.pass_(30)
    house.steps()
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 1)
    assert house.erp.calls.count(f"send {key}") == 1


def test_throttled_is_sent_again_after_a_look(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.erp.faults = ["throttled", "throttled"]
    house.drain()
    assert house.intent("p") == "done"
    assert house.erp.calls == [f"send {key}", f"find {key}", f"send {key}", f"find {key}", f"send {key}"]


def test_no_look_no_second_send(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.erp.faults = ["throttled"]
    house.steps()
    house.erp.down = True
    house.clock.pass_(RETRY)
    house.steps()
    assert house.erp.calls.count(f"send {key}") == 1
    assert house.command(key).state == "pending"
    house.erp.down = False
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 1)


def test_a_touched_row_gets_a_new_guard_and_no_conflict(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.erp.touch("1")
    house.steps()
    assert house.command(key).state == "stale"
    house.drain()
    assert (house.intent("p"), house.conflicts("p"), len(house.erp.effects)) == ("done", [], 1)


def test_paid_by_hand_between_decision_and_send_is_one_conflict_and_no_effect(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.erp.pay("1", Decimal("70.00"), "by hand")
    house.steps()
    house.drain()
    assert house.erp.effects == []
    assert house.conflicts("p") == ["over_application"]
    assert (house.intent("p"), house.command(key).state) == ("refused", "superseded")


def test_a_refusal_is_held_with_the_erp_s_words(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.erp.faults = ["rejected"]
    house.drain()
    assert (house.intent("p"), house.command(key).state) == ("held", "rejected")
    assert house.conflicts("p") == ["erp_rejected"]
    assert house.erp.effects == []


def test_a_defect_of_the_target_counts_as_no_answer(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.erp.faults = ["crash"]
    house.steps()
    assert house.command(key).state == "unknown"
    house.clock.pass_(80)
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 1)


def test_a_target_that_fails_again_and_again_parks_the_command_until_it_is_retried(house: House) -> None:
    house.invoice("1")
    house.invoice("2", customer="8")
    key = house.pay("p", i1="100.00")
    house.erp.faults = ["crash"] * PARKING_DEFECTS
    while house.erp.faults:
        house.steps()
        house.clock.pass_(80)
    (letter,) = house.letters()
    assert (letter.document, letter.times, letter.kind) == (f"command/{key}", PARKING_DEFECTS, "command")
    assert json.loads(letter.payload)["amount"] == "100.00"
    other = house.pay("q", i2="100.00")
    house.drain()
    assert house.command(key).state == "unknown", "it waits for somebody"
    assert house.command(other).state == "confirmed", "and nothing else does"
    with unit_of_work(house.connection, house.system, house.clock()) as work:
        letters.close(work, [letter.id], "retried", "me", "target mended")
    house.clock.pass_(80)
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 2)


@pytest.mark.parametrize("done", [True, False])
def test_a_killed_worker_s_command_is_looked_up_by_the_next(house: House, done: bool) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    killed = house.another("dead/0")
    errand = killed._claim()
    assert errand is not None
    if done:
        house.erp.send(key, errand.command.write, errand.guard)
    assert house.dispatcher.recover() == 1
    assert house.command(key).state == "unknown"
    house.steps()
    sends = house.erp.calls.count(f"send {key}")
    house.clock.pass_(80)
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 1)
    assert house.erp.calls.count(f"send {key}") == (sends if done else sends + 1)
    killed.close()


def test_an_expired_lease_is_unknown_and_its_late_answer_changes_nothing(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    slow = house.another("slow/0")
    plain = house.erp.send

    def send(key: str, write: Write, guard: Guard) -> Outcome:
        house.clock.pass_(30)
        house.dispatcher.step()
        assert house.command(key).state in ("unknown", "accepted")
        return plain(key, write, guard)

    house.erp.send = send  # type: ignore[method-assign]
    slow.step()
    house.erp.send = plain  # type: ignore[method-assign]
    assert house.command(key).state == "unknown"
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 1)
    slow.close()


def test_a_worker_that_slept_after_its_claim_does_not_send(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    errand = house.dispatcher._claim()
    assert errand is not None
    house.clock.pass_(6)
    house.dispatcher._do(errand)
    assert f"send {key}" not in house.erp.calls
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 1)


def test_one_customer_s_commands_go_out_in_order_and_others_do_not_wait(house: House) -> None:
    house.invoice("1")
    house.invoice("2")
    house.invoice("3", customer="8")
    first, second, other = house.pay("a", i1="10.00"), house.pay("b", i2="10.00"), house.pay("c", i3="10.00")
    house.erp.faults = ["throttled"]
    house.steps()
    assert house.erp.calls == [f"send {first}", f"send {other}"]
    house.clock.pass_(RETRY)
    house.steps()
    assert [call for call in house.erp.calls if call.startswith("send")][2:] == [f"send {first}", f"send {second}"]


def test_the_second_payment_of_an_invoice_waits_for_the_first_one_s_echo(house: House) -> None:
    house.invoice("1")
    first, second = house.pay("a", i1="10.00"), house.pay("b", i1="20.00")
    house.steps()
    assert house.erp.calls == [f"send {first}"]
    house.drain()
    assert [call for call in house.erp.calls if call.startswith("send")] == [f"send {first}", f"send {second}"]
    assert house.conflicts("a") == house.conflicts("b") == []
    assert house.intent("b") == "done"


def test_an_echo_that_never_comes_calls_a_person_and_still_confirms_when_it_does(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="100.00")
    house.steps()
    house.clock.pass_(Policy().settle_time.total_seconds() + 1)
    house.steps()
    assert (house.command(key).state, house.intent("p"), house.conflicts("p")) == (
        "overdue",
        "held",
        ["echo_missing"],
    )
    house.drain()
    assert (house.command(key).state, house.intent("p")) == ("confirmed", "done")


def test_an_intent_waits_for_its_document_a_bounded_time(house: House) -> None:
    house.invoice("1")
    version = house.erp.open_invoice("9").content_version()
    for name in ("soon", "never"):
        invoice = "9" if name == "soon" else "404"
        asked = ApplyPayment(
            id=name, system=house.system, customer="7", currency="EUR", amount=Decimal("5"), date=DAY,
            allocations=(Allocation(invoice, Decimal("5"), version),),
        )  # fmt: skip
        submit(house.connection, house.system, [asked], Policy(), house.clock, {})
    assert (house.intent("soon"), house.intent("never")) == ("waiting", "waiting")
    house.drain("9")
    assert house.intent("soon") == "done"
    house.clock.pass_(Policy().unknown_for.total_seconds())
    house.steps()
    assert (house.intent("never"), house.conflicts("never")) == ("refused", ["unknown_document"])


def test_the_same_intent_twice_is_one(house: House) -> None:
    house.invoice("1")
    house.pay("p", i1="40.00")
    house.drain()
    again = ApplyPayment(
        id="p", system=house.system, customer="7", currency="EUR", amount=Decimal("40.00"), date=DAY,
        allocations=(Allocation("1", Decimal("40.00"), "x"),),
    )  # fmt: skip
    (taken,) = submit(house.connection, house.system, [again], Policy(), house.clock, {})
    assert taken.known
    assert taken.trouble is not None, "its content is another one"
    house.drain()
    assert len(house.erp.effects) == 1


def test_many_workers_and_a_store_that_breaks_off_write_each_payment_once(house: House) -> None:
    for number in range(1, 13):
        house.invoice(str(number), customer=str(number % 4))
    keys = [house.pay(f"p{number}", **{f"i{number}": "10.00"}) for number in range(1, 13)]
    stop, wake = threading.Event(), threading.Event()
    workers = [house.another(f"w/{place}") for place in range(3)]
    threads = [threading.Thread(target=worker.run, args=(stop, wake)) for worker in workers]
    for thread in threads:
        thread.start()
    deadline = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=30)
    while len(house.erp.effects) < 12 and dt.datetime.now(dt.UTC) < deadline:
        pid = house.connection.info.backend_pid
        house.connection.execute(
            """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
               WHERE pid <> %s AND usename = current_user AND datname = current_database()""", (pid,))  # fmt: skip
        stop.wait(0.3)
    stop.set()
    wake.set()
    for thread in threads:
        thread.join()
    house.clock.pass_(80)
    house.drain()
    assert sorted(key for key, _, _ in house.erp.effects) == sorted(keys)
    assert {house.intent(f"p{number}") for number in range(1, 13)} == {"done"}


def test_the_fake_itself_refuses_a_stale_guard(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="10.00")
    write = house.command(key).write
    assert house.erp.send(key, write, {"invoice/1": "other"}).kind == "stale"
    assert house.erp.find(key, write) is None
    house.steps()
    assert house.erp.find(key, write) == Found("M1", Decimal("10.00"))


def test_a_command_that_one_worker_looks_up_is_left_alone_by_the_others(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="10.00")
    house.erp.faults = ["lost_after"]
    house.dispatcher.step()
    house.clock.pass_(RETRY)
    errand = house.dispatcher._claim()
    assert errand is not None
    other = house.another("2/0")
    assert not other.step()
    house.dispatcher._do(errand)
    assert house.command(key).state == "accepted"
    other.close()


def test_observing_decides_and_sends_nothing(house: House) -> None:
    house.gated(observe=True)
    house.invoice("1")
    key = house.pay("p", i1="10.00")
    house.drain()
    assert (house.erp.calls, house.command(key).state, house.intent("p")) == ([], "pending", "planned")
    with house.connection.cursor() as cursor:
        (would,) = intent_queries.list_commands(cursor, house.system, unsent=True)
    assert (would["key"], would["write"]["amount"]) == (key, "10.00")


def test_a_paused_system_is_looked_after_and_not_sent_to(house: House) -> None:
    house.invoice("1")
    house.invoice("2", customer="8")
    house.erp.faults = ["lost_after"]
    house.pay("first", i1="10.00")
    house.steps()
    with unit_of_work(house.connection, house.system, house.clock()) as work:
        brake.pause(work, "a person", "month end")
    house.pay("second", i2="10.00")
    house.drain()
    assert (house.intent("first"), house.intent("second"), house.sends()) == ("done", "planned", 1)
    told = house.paused()
    assert told is not None
    assert (told.by, told.why) == ("a person", "month end")
    house.resume()
    house.drain()
    assert (house.intent("second"), house.sends()) == ("done", 2)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"commands_per_hour": 2}, "2 commands were sent within an hour, the limit is 2"),
        ({"money_per_hour": {"EUR": Decimal("25.00")}}, "20.00 EUR were sent within an hour, 10.00 more"),
    ],
)
def test_the_brake_pauses_until_a_person_resumes(house: House, limits: dict[str, Any], reason: str) -> None:
    house.gated(**limits)
    for number in range(1, 6):
        house.invoice(str(number), customer=str(number))
        house.pay(f"p{number}", **{f"i{number}": "10.00"})
    house.drain()
    assert house.sends() == 2
    told = house.paused()
    assert told is not None
    assert told.by == "brake"
    assert reason in told.why
    # The hour passes: it stays paused, for a person must look.
    house.clock.pass_(3600)
    house.drain()
    assert house.sends() == 2
    house.resume()
    house.drain()
    assert house.sends() == 4, "the brake's hour began anew"


def test_a_repeat_of_the_same_command_does_not_count_twice(house: House) -> None:
    house.gated(commands_per_hour=1)
    house.invoice("1")
    house.pay("p", i1="10.00")
    house.erp.faults = ["throttled", "throttled"]
    house.drain()
    assert (house.intent("p"), house.paused()) == ("done", None)


def test_the_pace_is_kept(house: House) -> None:
    house.gated(per_second=0.5)
    for number in range(1, 4):
        house.invoice(str(number), customer=str(number))
        house.pay(f"p{number}", **{f"i{number}": "10.00"})
    counts = []
    for _ in range(6):
        house.steps()
        counts.append(house.sends())
        house.clock.pass_(1)
    assert counts == [1, 1, 2, 2, 3, 3]


def test_the_circuit_opens_while_the_erp_is_down_and_one_trial_closes_it(house: House) -> None:
    for number in range(1, 9):
        house.invoice(str(number), customer=str(number))
        house.pay(f"p{number}", **{f"i{number}": "10.00"})
    house.erp.faults = ["throttled"] * 6
    house.steps()
    assert house.sends() == 5, "five failures in a row open it"
    house.clock.pass_(2.5)
    house.dispatcher.step()
    house.steps()
    assert house.sends() == 6, "one trial, which fails"
    house.clock.pass_(2.5)
    house.steps()
    assert house.sends() == 6, "the next pause is longer"
    house.clock.pass_(3)
    house.steps()
    house.drain()
    assert {house.intent(f"p{number}") for number in range(1, 9)} == {"done"}
    assert len(house.erp.effects) == 8


def test_a_command_that_is_always_put_back_takes_turns_with_the_others(house: House) -> None:
    """It alone opens the circuit; what is tried after a pause is whatever has been due for longest."""
    house.invoice("1", customer="7")
    house.invoice("2", customer="7")
    house.invoice("3", customer="8")
    bad = house.pay("bad", i1="10.00")
    plain = house.erp.send

    def send(key: str, write: Write, guard: Guard) -> Outcome:
        if key != bad:
            return plain(key, write, guard)
        house.erp.calls.append(f"send {key}")
        return Outcome(OutcomeKind.THROTTLED, "the server failed inside")

    house.erp.send = send  # type: ignore[method-assign]
    for _ in range(8):
        house.steps()
        house.clock.pass_(3)
    later, good = house.pay("later", i2="10.00"), house.pay("good", i3="10.00")
    tried = house.command(bad).sends
    for _ in range(30):
        house.steps()
        house.clock.pass_(10)
    assert house.command(good).state == "accepted"
    between = house.erp.calls[house.erp.calls.index(f"send {good}") :: -1]
    assert between.count(f"send {bad}") <= tried + 1
    assert f"send {later}" not in house.erp.calls, "one customer's go in their order"


@pytest.mark.parametrize("choice", ["retry", "accept_erp"])
def test_a_payment_whose_answer_is_always_lost_is_sent_a_bounded_number_of_times(house: House, choice: str) -> None:
    house.invoice("1")
    house.invoice("2")
    key = house.pay("p", i1="10.00")
    most = Policy().most_losses
    house.erp.faults = ["lost_before", "throttled", *["lost_before"] * 100]
    for _ in range(most * 8):
        house.steps()
        house.clock.pass_(40)
    assert house.sends() == most + 1, "an answer that tells to wait is one"
    assert (house.command(key).state, house.intent("p"), house.conflicts("p")) == (
        "superseded", "held", ["outcome_unknown"],
    )  # fmt: skip
    told = house.open_conflict("p")
    assert (told.rule, f"was sent {most} times" in told.sentence) == ("lookup.always_lost", True)
    house.erp.faults = []
    other = house.pay("q", i2="10.00")
    house.drain()
    assert house.command(other).state == "confirmed", "nothing else of the customer's waits"
    house.erp.calls.clear()
    assert house.choose("p", choice).declined is None
    house.drain()
    assert house.erp.calls == ([f"find {key}", f"send {key}"] if choice == "retry" else [])
    assert house.intent("p") == ("done" if choice == "retry" else "refused")
    assert len(house.erp.effects) == (2 if choice == "retry" else 1)


def test_what_is_lost_again_after_a_choice_is_told_again(house: House) -> None:
    house.invoice("1")
    house.pay("p", i1="10.00")
    house.erp.faults = ["lost_before"] * 100
    for round_ in (1, 2):
        for _ in range(Policy().most_losses * 8):
            house.steps()
            house.clock.pass_(40)
        assert house.sends() == Policy().most_losses * round_
        assert house.conflicts("p") == ["outcome_unknown"] * round_
        house.choose("p", "retry")


# A dead letter of a command that is dropped


def dropped(house: House) -> None:
    """Somebody gives up the one dead letter there is."""
    (letter,) = house.letters()
    house.clock.pass_(60)
    with unit_of_work(house.connection, house.system, house.clock()) as work:
        letters.close(work, [letter.id], "dropped", "me", "not to be done")


def another_goes(house: House) -> None:
    """A later payment of the same customer is done, and none before it was sent."""
    house.invoice("2")
    house.erp.calls.clear()
    other = house.pay("q", i2="10.00")
    house.drain()
    house.clock.pass_(3600)
    house.drain()
    assert (house.command(other).state, house.erp.calls) == ("confirmed", [f"send {other}"])


def parked(house: House) -> str:
    """A payment on which the target fails until it is parked; whether it left is not known."""
    house.invoice("1")
    key = house.pay("p", i1="10.00")
    house.erp.faults = ["crash"] * PARKING_DEFECTS
    while house.erp.faults:
        house.steps()
        house.clock.pass_(80)
    return key


@pytest.mark.parametrize("choice", ["retry", "accept_erp"])
def test_what_may_have_left_when_its_letter_is_dropped_is_held_and_no_other_waits(house: House, choice: str) -> None:
    key = parked(house)
    dropped(house)
    another_goes(house)
    assert (house.command(key).state, house.intent("p"), house.conflicts("p")) == (
        "unknown", "held", ["outcome_unknown"],
    )  # fmt: skip
    house.erp.calls.clear()
    assert house.choose("p", choice).declined is None
    house.drain()
    assert house.erp.calls == ([f"find {key}", f"find {key}", f"send {key}"] if choice == "retry" else [])
    assert house.intent("p") == ("done" if choice == "retry" else "refused")


def test_what_was_done_all_the_same_confirms_what_was_given_up(house: House) -> None:
    key = parked(house)
    dropped(house)
    another_goes(house)
    house.erp._do(key, house.command(key).write)
    house.drain()
    assert (house.command(key).state, house.intent("p")) == ("confirmed", "done")


def test_what_is_given_up_keeps_its_money_claimed(house: House) -> None:
    parked(house)
    dropped(house)
    house.steps()
    house.pay("all", i1="100.00")
    assert house.conflicts("all") == ["concurrent_claims"]


def test_what_never_left_when_its_letter_is_dropped_is_sent_only_by_choice(house: House) -> None:
    house.invoice("1")
    key = house.pay("p", i1="10.00")
    house.erp.faults = ["crash"]
    house.steps()
    house.clock.pass_(80)
    house.dispatcher._do(house.dispatcher._claim())  # type: ignore[arg-type]
    assert house.command(key).state == "pending"
    dropped(house)
    another_goes(house)
    assert (house.command(key).state, house.conflicts("p")) == ("superseded", ["outcome_unknown"])
    house.choose("p", "retry")
    house.drain()
    assert (house.intent("p"), len(house.erp.effects)) == ("done", 2)


def test_a_step_that_is_missing_when_the_letter_is_dropped_is_done_only_by_choice(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.invoice("1")
    key = house.pay("p", i1="10.00")
    house.erp.faults = ["half"]
    with monkeypatch.context() as broken:
        broken.setattr(house.erp, "resume", lambda *_: 1 // 0)
        for _ in range(PARKING_DEFECTS + 2):
            house.steps()
            house.clock.pass_(80)
        assert house.command(key).state == "part_done"
        dropped(house)
        another_goes(house)
    assert (house.command(key).state, house.intent("p"), house.conflicts("p")) == ("held", "held", ["partly_done"])
    house.choose("p", "retry")
    house.drain()
    assert house.intent("p") == "done"
    assert [effect for effect in house.erp.effects if effect[0] == key] == [(key, "1", Decimal("10.00"))]


def test_a_lost_answer_is_looked_up_before_what_waits_to_be_sent(house: House) -> None:
    for number in range(1, 6):
        house.invoice(str(number), customer=str(100 + number))
    house.pay("p1", i1="60.00")
    house.erp.faults = ["lost_after"]
    house.dispatcher.step()
    for number in range(2, 6):
        house.pay(f"p{number}", **{f"i{number}": "100.00"})
    house.clock.pass_(60)
    house.dispatcher.step()
    assert house.erp.calls[-1].startswith("find")
