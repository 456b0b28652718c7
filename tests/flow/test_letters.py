"""What cannot be processed is kept whole, once for each cause, parks only itself, and goes the normal way later."""

import datetime as dt
import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from connectors.debezium.envelope import decode, read_again
from connectors.debezium.kafka.borders import Merge
from connectors.tryton.mapping import TrytonMapping
from engine.app.wiring import enter_system
from engine.flow.chores import Chores
from engine.flow.parking import BrakeError
from engine.flow.pipeline import Pipeline
from engine.flow.replay.proving import prove
from engine.model.change import Op, Record, RowChange, SnapshotMark, TransactionBegin, TransactionEnd, Unreadable
from engine.ports.rows import KEY
from engine.ports.source import Resume, SourceBatch
from engine.rules.policy import Policy
from engine.store import chores, letters, privacy, queries
from engine.store.chores import ChoreKind
from engine.store.journal_reading import StoredJournal
from engine.store.letters import Filter, Letter, LetterKind
from engine.store.unit import Connection, unit_of_work

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)


def party(key: int, name: str | None, lsn: int, op: Op = Op.READ, tx: str | None = None, **marks: Any) -> RowChange:
    row = {"id": key, "code": str(key), "active": True, "create_date": 1, "write_date": None}
    if name is not None:
        row["name"] = name
    return RowChange("party_party", str(key), op, row, lsn, tx, 1_000_000, **marks)


def message(key: int, name: str, lsn: int) -> str:
    """An update as Debezium sends it."""
    after = {"id": key, "code": str(key), "active": True, "create_date": 1, "write_date": None, "name": name}
    source = {"table": "party_party", "lsn": lsn, "txId": 9, "ts_us": 2_000_000, "snapshot": "false"}
    return json.dumps({"op": "u", "before": None, "after": after, "source": source})


def streamed(tx: str, lsn: int, *rows: Record) -> list[Record]:
    return [TransactionBegin(tx), *rows, TransactionEnd(tx, lsn, len(rows), 2_000_000)]


class House:
    """One system's pipeline and what it keeps."""

    def __init__(self, connection: Connection, system: str, *, brake: int = 100, most_letters: int = 100) -> None:
        enter_system(connection, system, "tryton")
        self.connection, self.system = connection, system
        self._brake, self._most_letters = brake, most_letters
        self._place = 0
        self.restart()

    def restart(self) -> None:
        """A process that takes up where the last one died."""
        self.pipeline = Pipeline(self.connection, self.system, TrytonMapping(), Policy(), lambda: NOW, epoch="log@1",
                                 brake=self._brake, most_letters=self._most_letters)  # fmt: skip
        self.chores = Chores(self.connection, self.system, self.pipeline, read_again)

    def take(self, *records: Record) -> None:
        self._place += 1
        self.pipeline.take(SourceBatch(list(records), {"place": self._place}))

    def snapshot(self, *names: str) -> None:
        rows = [party(n, name, 100, snapshot=SnapshotMark.ROW) for n, name in enumerate(names, 1)]
        self.take(*rows[:-1], party(len(names), names[-1], 100, snapshot=SnapshotMark.LAST))

    def names(self) -> dict[str, str]:
        with self.connection.cursor() as cursor:
            return {row["key"]: row["name"] for row in queries.list_customers(cursor, self.system)}

    def parked(self) -> dict[str, str | None]:
        with self.connection.cursor() as cursor:
            return {row["key"]: row["parked"] for row in queries.list_customers(cursor, self.system)}

    def letters(self, state: str | None = "open") -> list[Letter]:
        with self.connection.cursor() as cursor:
            return letters.find(cursor, Filter(system=self.system, state=state))

    def retry(self, letter: Letter) -> tuple[str, str | None]:
        with unit_of_work(self.connection, self.system, NOW) as work:
            (asked,) = chores.ask(work, ChoreKind.RETRY_LETTER, [str(letter.id)], "me", "mended")
        assert self.chores.step() == 1
        with self.connection.cursor() as cursor:
            (chore,) = chores.by_id(cursor, [asked])
        return chore.state, chore.told

    def choices(self) -> list[dict[str, Any]]:
        rows = self.connection.execute(
            "SELECT body FROM journal WHERE stream = %s ORDER BY seq", (f"{self.system}/operators",)
        )
        return [json.loads(body)["input"] for (body,) in rows]


@pytest.fixture
def house(connection: Connection, store_dsn: str, request: pytest.FixtureRequest) -> Iterator[House]:
    """A house with two customers; whatever a test did with its letters, its journal verifies."""
    made = House(connection, request.node.name[:40])
    made.snapshot("One", "Two")
    yield made
    with psycopg.connect(store_dsn) as reading:
        journal = StoredJournal(reading)
        found = prove(journal, made.system, current=journal.current)
    assert (found.faults, found.decided) == ([], found.entries)


def test_a_document_that_cannot_be_read_is_kept_once_with_its_rows(house: House) -> None:
    for lsn in (200, 210, 220):
        house.take(*streamed(str(lsn), lsn + 5, party(1, None, lsn, Op.UPDATE, str(lsn), bordered=True)))
    (letter,) = house.letters()
    assert (letter.kind, letter.document, letter.times) == ("document", "customer/1", 3)
    assert "name" in letter.reason
    assert json.loads(letter.payload) == {"party_party": {"1": party(1, None, 220).row}}
    assert house.parked() == {"1": letter.reason, "2": None}
    assert house.names() == {"1": "One", "2": "Two"}, "the last readable state stays"
    house.take(*streamed("230", 235, party(2, "Zwei", 230, Op.UPDATE, "230", bordered=True)))
    assert house.names()["2"] == "Zwei", "the stream goes on"


def test_a_parked_document_that_can_be_read_again_needs_nobody(house: House) -> None:
    house.take(*streamed("200", 205, party(1, None, 200, Op.UPDATE, "200", bordered=True)))
    house.take(*streamed("210", 215, party(1, "Uno", 210, Op.UPDATE, "210", bordered=True)))
    assert (house.letters(), house.parked()["1"], house.names()["1"]) == ([], None, "Uno")
    (letter,) = house.letters("healed")
    assert letter.closed_by == "arsync"
    house.take(*streamed("220", 225, party(1, None, 220, Op.UPDATE, "220", bordered=True)))
    assert [one.id for one in house.letters()] != [letter.id], "the next time is another letter"


def test_a_document_is_read_again_after_the_mapping_was_mended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.take(*streamed("200", 205, party(1, None, 200, Op.UPDATE, "200", bordered=True)))
    (letter,) = house.letters()
    state, told = house.retry(letter)
    assert (state, told) == ("failed", letter.reason)
    assert [one.id for one in house.letters()] == [letter.id]
    from connectors.tryton import mapping

    monkeypatch.setattr(mapping, "_personal", lambda key, *_rows: {"name": f"party {key}"})
    assert house.retry(letter)[0] == "done"
    assert (house.letters(), house.names()["1"], house.parked()["1"]) == ([], "party 1", None)


def test_a_change_is_mended_and_applied_where_it_belongs(house: House) -> None:
    broken = Unreadable("tryton.public.party_party", "no JSON", message(1, "Uno", 200)[:-1], '{"id": 1}')
    house.take(*streamed("9", 205, broken, party(2, "Zwei", 201, Op.UPDATE, "9", bordered=True)))
    (letter,) = house.letters()
    assert (letter.payload, letter.key, house.names()) == (broken.payload, broken.key, {"1": "One", "2": "Zwei"})
    state, told = house.retry(letter)
    assert state == "failed"
    assert "JSON" in (told or "")
    with unit_of_work(house.connection, house.system, NOW) as work:
        assert letters.edit(work, letter.id, message(1, "Uno", 200), "me", "cut off") == 2
    with house.connection.cursor() as cursor:
        (old,) = letters.versions(cursor, letter.id)
    assert (old["version"], old["payload"], old["by"]) == (1, broken.payload, "me")
    assert house.retry(house.letters()[0]) == ("done", "party_party 1 was applied")
    assert (house.names()["1"], house.letters()) == ("Uno", [])
    kinds = [choice.keys() & {"chore", "deadletter", "deadletters"} for choice in house.choices()]
    assert kinds == [{"chore"}, {"deadletter"}, {"chore"}, {"deadletters"}]


def test_a_change_that_is_retried_late_does_not_undo_what_came_after_it(house: House) -> None:
    broken = Unreadable("t.public.party_party", "no JSON", message(1, "Uno", 200), '{"id": 1}')
    house.take(*streamed("9", 205, broken))
    house.take(*streamed("10", 225, party(1, "Eins", 220, Op.UPDATE, "10", bordered=True)))
    told = "what is known of party_party 1 is newer: nothing was changed"
    assert house.retry(house.letters()[0]) == ("done", told)
    assert house.names()["1"] == "Eins"


def test_a_change_that_is_retried_late_goes_over_an_earlier_one_of_its_own_transaction(house: House) -> None:
    broken = Unreadable("t.public.party_party", "no JSON", message(1, "Last", 201), '{"id": 1}')
    first = party(1, "First", 200, Op.UPDATE, "9", bordered=True)
    house.take(*streamed("9", 205, first, broken))
    assert house.retry(house.letters()[0]) == ("done", "party_party 1 was applied")
    assert house.names()["1"] == "Last"
    house.restart()
    house.take(*streamed("9", 205, first, broken))
    house.take(*streamed("10", 225, party(2, "Zwei", 220, Op.UPDATE, "10", bordered=True)))
    assert house.names() == {"1": "Last", "2": "Zwei"}


def test_an_order_that_is_retried_late_tells_nothing_that_is_over(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Unreadable("t", "no JSON", "{", '{"id": 1}')
    house.take(*streamed("9", 205, broken))
    house.take(*streamed("210", 215, sale(1, 210, state="done")))
    house.chores._read_again = lambda _: sale(1, 200, state="draft")
    monkeypatch.setattr(TrytonMapping, "read_paper", lambda *_: pytest.fail("it was read"))
    assert house.retry(house.letters()[0])[0] == "done"


def test_the_same_message_again_is_the_same_letter_and_a_dropped_one_is_kept_on_record(house: House) -> None:
    broken = Unreadable("t.public.party_party", "no JSON", "{", '{"id": 1}')
    for lsn in (205, 215):
        house.take(*streamed(str(lsn), lsn, broken))
    (letter,) = house.letters()
    assert letter.times == 2
    with unit_of_work(house.connection, house.system, NOW) as work:
        assert letters.close(work, [letter.id], "dropped", "me", "a test") == [letter.id]
        assert letters.close(work, [letter.id], "dropped", "me", "a test") == []
    (dropped,) = house.letters("dropped")
    assert (dropped.closed_by, dropped.closed_why, dropped.payload) == ("me", "a test", "{")
    assert house.choices()[-1] == {"deadletters": [letter.id], "choice": "dropped", "by": "me", "why": "a test"}


def test_a_record_that_cannot_be_read_counts_to_its_transaction_after_a_restart(house: House) -> None:
    broken = Unreadable("t@5", "no JSON", "{", '{"id": 1}')
    house.take(TransactionBegin("9"), broken)
    house.restart()
    house.take(broken, party(2, "Zwei", 201, Op.UPDATE, "9", bordered=True))
    house.restart()
    house.take(TransactionEnd("9", 205, 2, 2_000_000))
    house.take(*streamed("10", 305, party(1, "Eins", 300, Op.UPDATE, "10", bordered=True)))
    assert house.names() == {"1": "Eins", "2": "Zwei"}
    assert [letter.times for letter in house.letters()] == [1]


def test_a_truncated_table_does_not_hold_up_a_stream_whose_borders_come_by_another_way(house: House) -> None:
    source = {"table": "party_address", "lsn": 200, "txId": 9, "ts_us": 2_000_000, "snapshot": "false"}
    truncated = {"op": "t", "before": None, "after": None, "source": source, "transaction": {"id": "9:1"}}
    broken = decode("erp", None, json.dumps(truncated).encode())
    assert broken is not None
    merge = Merge(None)
    merge.take([(0, TransactionEnd("9", 205, 2, 2_000_000)), (1, TransactionEnd("10", 305, 1, 2_000_000))])
    house.take(*merge.merge([broken, party(2, "Zwei", 201, Op.UPDATE, "9", bordered=True)], drained=False))
    house.take(*merge.merge([party(1, "Eins", 300, Op.UPDATE, "10", bordered=True)], drained=False))
    assert house.names() == {"1": "Eins", "2": "Zwei"}
    assert len(house.letters()) == 1


def test_too_many_documents_in_a_row_stop_the_source(connection: Connection) -> None:
    house = House(connection, "brake-documents", brake=3)
    house.snapshot("One", "Two", "Three", "Four", "Five")
    bad = [party(n, None, 200 + n, Op.UPDATE, "200", bordered=True) for n in range(1, 4)]
    house.take(*streamed("200", 210, *bad))
    assert len(house.letters()) == 3
    for letter in house.letters():
        assert house.retry(letter)[0] == "failed", "what people retry is no series"
    with pytest.raises(BrakeError, match=r"more than 3 documents in a row.*customer/4"):
        house.take(*streamed("220", 230, party(4, None, 220, Op.UPDATE, "220", bordered=True)))
    assert len(house.letters()) == 3, "nothing of that batch is kept, it comes again"


def sale(key: int, lsn: int, op: Op = Op.CREATE, **values: Any) -> RowChange:
    row = {"id": key, "number": f"S{key}", "create_date": 1, "write_date": None, **values}
    return RowChange("sale_sale", str(key), op, row, lsn, f"{lsn // 10}0", 1_000_000, bordered=True)


def test_an_order_that_cannot_be_read_is_kept_and_the_stream_goes_on(house: House) -> None:
    uno = party(1, "Uno", 202, Op.UPDATE, "200", bordered=True)
    house.take(*streamed("200", 205, sale(1, 200), sale(2, 201), uno))
    assert house.names()["1"] == "Uno"
    told = [(letter.kind, letter.document, letter.reason) for letter in house.letters()]
    assert told[0] == ("document", "sale_sale/1", "sale_sale 1 cannot be read: column 'state' is missing")
    assert json.loads(house.letters()[0].payload) == {"sale_sale": {"1": sale(1, 200).row}}
    assert house.retry(house.letters()[0]) == ("failed", told[0][2])
    house.restart()
    house.take(*streamed("210", 215, sale(1, 210, Op.UPDATE, state="draft"), sale(2, 211, Op.DELETE)))
    assert house.letters() == []
    assert len(house.letters("healed")) == 2


def test_an_order_is_read_again_after_the_mapping_was_mended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.take(*streamed("200", 205, sale(1, 200)))
    monkeypatch.setattr(TrytonMapping, "read_paper", lambda *_: None)
    assert house.retry(house.letters()[0]) == ("done", "it could be read again")
    assert house.letters() == []


def test_too_many_orders_in_a_row_stop_the_source(connection: Connection) -> None:
    house = House(connection, "brake-orders", brake=3)
    house.snapshot("One")
    house.take(*streamed("200", 210, *(sale(n, 200 + n) for n in range(1, 4))))
    with pytest.raises(BrakeError, match=r"more than 3 orders or entries in a row.*sale_sale/4"):
        house.take(*streamed("220", 230, sale(4, 220)))


def test_more_open_letters_than_are_allowed_stop_the_source(connection: Connection) -> None:
    house = House(connection, "brake-letters", most_letters=2)
    house.snapshot("One")
    with unit_of_work(house.connection, house.system, NOW) as work:
        for number in range(3):
            letters.keep(
                work.cursor, house.system, NOW, LetterKind.INTENT, origin="i", reason="bad", payload=f"{number}"
            )
    # What the AR side sends is no fault of the source.
    for number in range(2):
        house.take(*streamed(str(number), 200 + number, Unreadable("t", "bad", f"{{{number}", None)))
    with pytest.raises(BrakeError, match="more than 2 dead letters are open; work them with `arsync deadletters`"):
        house.take(*streamed("7", 300, Unreadable("t", "bad", "{7", None)))


def test_what_the_ar_side_does_to_a_parked_document_leaves_it_parked(house: House) -> None:
    house.take(*streamed("200", 205, party(1, None, 200, Op.UPDATE, "200", bordered=True)))
    from engine.flow.entering import load_view
    from engine.rules.desk import Decision
    from engine.store.journal import Entry

    with unit_of_work(house.connection, house.system, NOW) as work:
        view = load_view(work.cursor, house.system, customers=["1"])
        decision = Decision(customers={"1": view.customers["1"]})
        work.record(Entry(f"{house.system}/intents", "intent", NOW, {}, {}, []), decision)
    assert house.parked()["1"] is not None


class TheErp:
    """The ERP's own rows, as of one moment."""

    since = 300

    def __init__(self, *rows: RowChange) -> None:
        self.rows = {(row.table, row.key): row.row for row in rows}

    def position(self) -> int:
        return self.since

    def passed(self, resume: Resume | None, position: int) -> bool:
        return resume is not None and position == self.since

    @contextmanager
    def snapshot(self) -> Iterator["TheErp"]:
        yield self

    def fetch(self, wanted: Collection[tuple[str, str, str]]) -> list[tuple[str, str, dict[str, Any]]]:
        return [
            (table, key, row)
            for (table, key), row in self.rows.items()
            if any(
                table == t and value == (key if column == KEY else str(row.get(column)))
                for t, column, value in wanted
            )
        ]

    def until(self) -> int:
        return self.since

    def close(self) -> None:
        """Nothing is open."""


def test_rows_that_are_read_again_mend_the_mirror(house: House) -> None:
    erp = TheErp(party(1, "Uno", 300))
    house.chores = Chores(house.connection, house.system, house.pipeline, read_again, erp)
    with unit_of_work(house.connection, house.system, NOW) as work:
        chores.ask(work, ChoreKind.READ_AGAIN, ["customer/1", "customer/2"], "me", "they drift")
    assert house.chores.step() == 2
    assert house.names() == {"1": "Uno"}, "the second is not there any more"


def erased(store_dsn: str, system: str, customer: str) -> bool:
    with psycopg.connect(store_dsn, autocommit=True) as own:
        return privacy.erase(own, system, customer, NOW, TrytonMapping.tables)


def test_what_the_erp_says_while_personal_data_is_erased_does_not_come_back(
    house: House, store_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*given: Any) -> Any:
        house.take(*streamed("200", 205, party(1, "Uno", 200, Op.UPDATE, "200", bordered=True)))
        return unit_of_work(*given)

    with monkeypatch.context() as patch:
        patch.setattr("engine.store.privacy.unit_of_work", meanwhile)
        assert erased(store_dsn, house.system, "1")
    assert house.names() == {"1": None, "2": "Two"}
    house.pipeline = Pipeline(house.connection, house.system, TrytonMapping(), Policy(), lambda: NOW, epoch="log@1")
    house.take(*streamed("300", 305, party(1, "Uno", 300, Op.UPDATE, "300", bordered=True)))
    assert house.names() == {"1": None, "2": "Two"}, "the same is not stored again"
    house.take(*streamed("310", 315, party(1, "Uno Nuovo", 310, Op.UPDATE, "310", bordered=True)))
    assert house.names() == {"1": "Uno Nuovo", "2": "Two"}


def address(key: int, customer: int, street: str) -> dict[str, Any]:
    return {"id": key, "party": customer, "street_unstructured": street, "city": "Lugano", "postal_code": "6900"}


def broken(table: str, key: str | None, payload: str) -> Unreadable:
    return Unreadable(f"t.public.{table}", "no JSON", payload, key)


def test_personal_data_is_erased_from_every_letter_about_the_customer_and_from_no_other(
    house: House, store_dsn: str
) -> None:
    known = RowChange("party_address", "7", Op.CREATE, address(7, 1, "Via Vecchia"), 190, "190", 1_000_000,
                      bordered=True)  # fmt: skip
    house.take(*streamed("190", 195, known))
    its = {
        "its own row": broken("party_party", '{"id": 1}', message(1, "Secret Name", 200)[:-1]),
        "with a schema": broken("party_party", '{"schema": {}, "payload": {"id": 1}}', '{"name": "Secret Na'),
        "of the mirror": broken("party_address", '{"id": 7}', '{"after": {"id": 7, "street_unstructured": "Via Seg'),
        "new": broken("party_contact_mechanism", '{"id": 9}', '{"after": {"id": 9, "party": 1, "value": "secret@e'),
        "packed": Unreadable("capture:log:1", "no line", '"{\\"table\\": \\"party_identifier\\", \\"party\\": 1, '),
        "by its name": Unreadable("capture:log:2", "no line", '{"name": "One", '),
    }
    others = [
        broken("party_party", '{"id": 2}', message(2, "Oneness", 201)[:-1]),
        broken("party_party", '{"id": 11}', '{"name": "Eleven", '),
        broken("party_address", '{"id": 1}', '{"after": {"id": 1, "party": 2, "street_unstructured": "Via Altra'),
        broken("party_address", '{"id": 8}', '{"after": {"id": 8, "party": 12, "street_unstructured": "Via Altra'),
        broken("sale_sale", '{"id": 1}', '{"after": {"id": 1, "party": 1, "state'),
    ]
    house.take(*streamed("9", 205, *its.values(), *others))
    first = house.letters()[0]
    with unit_of_work(house.connection, house.system, NOW) as work:
        letters.edit(work, first.id, message(1, "Secret Name", 200), "me", "cut off")
    house.take(*streamed("210", 215, party(1, None, 210, Op.UPDATE, "210", bordered=True)))
    assert erased(store_dsn, house.system, "1")
    kept = house.letters()
    assert [one.payload for one in kept] == [""] * len(its) + [one.payload for one in others] + [""]
    with house.connection.cursor() as cursor:
        assert [old["payload"] for old in letters.versions(cursor, first.id)] == [""]
    house.take(*streamed("220", 225, its["with a schema"]))
    assert "Secret" not in "".join(one.payload for one in house.letters()), "the same message again"
    assert house.letters()[1].times == 2
    house.take(*streamed("230", 235, broken("party_party", '{"id": 1}', "Another Name")))
    assert house.letters()[-1].payload == "Another Name"
    said = len(house.choices())
    assert erased(store_dsn, house.system, "1")
    assert (house.letters()[-1].payload, len(house.choices())) == ("", said + 1)
    assert erased(store_dsn, house.system, "1")
    assert len(house.choices()) == said + 1, "nothing was left to erase"


def test_a_customer_that_could_never_be_read_is_erased_from_its_letters(house: House, store_dsn: str) -> None:
    house.take(*streamed("9", 205, broken("party_party", '{"id": 3}', message(3, "Secret Name", 200)[:-1])))
    assert not erased(store_dsn, house.system, "4")
    assert erased(store_dsn, house.system, "3")
    assert [one.payload for one in house.letters()] == [""]
    assert house.choices() == [{"erased": "customer/3#0"}]
    assert not erased(store_dsn, house.system, "3")


@pytest.mark.parametrize(
    ("name", "text", "holds"),
    [
        ("Ann Lee", 'told by Ann Lee, "', True),
        ("Ann Lee", '{"name": "Joann Lee"}', False),
        ("Lée", '{"name": "L\\u00e9e"}', True),
        ("Lée", '"{\\"name\\": \\"Lée\\", ', True),
        ("after", '{"after": {"name": "Ann', False),
        ("Ann", '{"name": "Ann Lee"}', False),
        (None, '{"name": null}', False),
    ],
)
def test_a_name_is_found_in_what_could_not_be_read(name: str | None, text: str, holds: bool) -> None:
    assert privacy._holds_name(text, name) is holds
