"""A real Tryton as one of the systems that a crew of workers shares, and what the demo's people need of arsync there.

`test_two_trytons` plays the demo's day on two of them at once. Nothing of the day knows how many processes arsync is.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from demo.erp import DemoErp
from demo.stage import Scene, Stage
from engine.store import intent_queries, queries
from engine.store.embedded_programs import write_private
from tests.kafka_stack.connect import Connect
from tests.on_kafka.crew import Crew, kafka_system

IN_DOUBT = 50
"""Seconds for which a lost answer proves nothing: longer than the day's proxy holds a request."""
SECTIONS = """\
[systems.{name}.policy]
settle_seconds = 120
retry_seconds = 0.05
most_stales = 500
unknown_document_seconds = 30

[systems.{name}.source.capture]
connect = "{connect}"
host = "{host}"
port = {port}
database = "{dbname}"
user = "{user}"
password_file = "{name}.source.secret"
heartbeat_seconds = 1

[systems.{name}.target]
url = "{url}"
database = "{database}"
user = "{login}"
password_file = "{name}.target.secret"
timeout = 20.0
deadline_seconds = 25.0
in_doubt_seconds = {doubt}
"""


def tryton_system(name: str, erp: DemoErp, url: str, connect: Connect, bootstrap: str, group: str) -> str:
    """The configuration of one system: read through Kafka Connect, written back to `url`."""
    source = conninfo_to_dict(erp.postgres_dsn)
    return kafka_system(name, bootstrap, group=group) + SECTIONS.format(
        name=name, connect=connect.url, url=url, database=erp.database, login=erp.user, doubt=IN_DOUBT, **source
    )


def write_secrets(crew: Crew, name: str, erp: DemoErp) -> None:
    """The passwords that `tryton_system` names."""
    write_private(crew.folder / f"{name}.source.secret", str(conninfo_to_dict(erp.postgres_dsn)["password"]))
    write_private(crew.folder / f"{name}.target.secret", erp.password)


class SharedArsync:
    """What the day needs of arsync (`demo.engine.Arsync`), for one system of a crew.

    The lists that it waits with come from the command line's own queries, without a process for each look.
    """

    def __init__(self, crew: Crew, system: str, connect: Connect) -> None:
        self._crew, self._system, self._connect = crew, system, connect

    def start(self) -> None:
        """Let Debezium begin with this system."""
        done = self._crew.arsync("connect-config", self._system, "--apply", self._connect.url)
        assert done.startswith(f"connector {self._system} created"), done
        self._connect.await_running(self._system)

    def await_ready(self) -> None:
        """Whichever worker has it: the snapshot is read."""
        self._crew.until(self._is_read)

    def check(self) -> None:
        self._crew.check()

    def ask(self, *arguments: str) -> list[dict[str, Any]]:
        what = arguments[0]
        if what == "conflicts":
            return list(json.loads(self._crew.arsync(*arguments, "--system", self._system, "--json")))
        with psycopg.connect(self._crew.dsn, autocommit=True) as connection, connection.cursor() as cursor:
            if what == "intents":
                rows = intent_queries.list_intents(cursor, self._system, None)
            elif what == "invoices":
                rows = queries.list_invoices(cursor, self._system)
            else:
                rows = queries.list_customers(cursor, self._system)
        return list(json.loads(json.dumps(rows)))

    def submit(self, intents: Sequence[str]) -> list[dict[str, Any]]:
        text = "\n".join(intents) + "\n"
        return list(json.loads(self._crew.arsync("intents", "submit", "-", "--json", text=text)))

    def _is_read(self) -> bool:
        with psycopg.connect(self._crew.dsn, autocommit=True) as connection:
            row = connection.execute(
                "SELECT snapshot_complete FROM source_position WHERE system = %s", (self._system,)
            ).fetchone()
        return bool(row and row[0])


@dataclass(slots=True)
class Ambush(Stage):
    """A stage that does something more while it holds its first request."""

    strike: Callable[[], None] = lambda: None
    _struck: list[bool] = field(default_factory=list)

    def play(self, scenes: Sequence[Scene]) -> None:
        """As ever; before the first scene of all comes the strike."""
        (hold, act), *others = scenes

        def struck() -> None:
            self.strike()
            act()

        first = (hold, act) if self._struck else (hold, struck)
        self._struck.append(True)
        Stage.play(self, [first, *others])
