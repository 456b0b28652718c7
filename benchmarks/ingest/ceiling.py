"""The ceiling: what Python and PostgreSQL can do with these events when there is nothing to decide.

A program of its own: `python -m benchmarks.ingest.ceiling TASK`, TASK being JSON. kafka-python polls, msgspec
decodes, COPY writes each whole event, one statement upserts the last row of each key; one transaction a batch. It
prints one JSON object.
"""

import json
import sys
import time
from typing import Any

import msgspec
import psycopg
from kafka import KafkaConsumer, TopicPartition

BATCH = 5_000
_TABLES = """
    CREATE TABLE event (position bigint, topic_offset bigint, body text NOT NULL);
    CREATE TABLE last_row (tbl text, key text, lsn bigint NOT NULL, body text NOT NULL, PRIMARY KEY (tbl, key));
    CREATE TEMP TABLE staging (tbl text, key text, lsn bigint, body text) ON COMMIT DELETE ROWS"""
_MERGE = """
    INSERT INTO last_row SELECT * FROM staging
    ON CONFLICT (tbl, key) DO UPDATE SET lsn = EXCLUDED.lsn, body = EXCLUDED.body"""


class _Source(msgspec.Struct, gc=False):
    table: str
    lsn: int


class _Event(msgspec.Struct, gc=False):
    op: str | None = None
    source: _Source | None = None
    after: dict[str, Any] | None = None


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Read from `begin` to `end`; seconds run from the first poll that gave records to the last commit."""
    decode = msgspec.json.Decoder(_Event).decode
    encode = msgspec.json.Encoder().encode
    consumer = KafkaConsumer(
        bootstrap_servers=task["bootstrap"], max_poll_records=BATCH, enable_auto_commit=False,
        fetch_max_bytes=16 << 20, max_partition_fetch_bytes=8 << 20,
    )  # fmt: skip
    part = TopicPartition(task["topic"], 0)
    consumer.assign([part])
    consumer.seek(part, task["begin"])
    began, at = 0.0, task["begin"]
    with psycopg.connect(task["dsn"]) as connection, connection.cursor() as cursor:
        cursor.execute(_TABLES)
        connection.commit()
        while at < task["end"]:
            asked = time.monotonic()
            polled = consumer.poll(timeout_ms=1000, max_records=BATCH).get(part, ())
            if not polled:
                continue
            began = began or asked
            last: dict[tuple[str, str], tuple[int, str]] = {}
            with cursor.copy("COPY event FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(("int8", "int8", "text"))
                for message in polled:
                    event = decode(message.value)
                    lsn = 0
                    if event.source is not None:
                        lsn = event.source.lsn
                        body = encode(event.after).decode() if event.after is not None else "null"
                        last[event.source.table, message.key.decode()] = (lsn, body)
                    copy.write_row((lsn, message.offset, message.value.decode()))
            with cursor.copy("COPY staging FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(("text", "text", "int8", "text"))
                for (table, key), (lsn, body) in last.items():
                    copy.write_row((table, key, lsn, body))
            cursor.execute(_MERGE)
            connection.commit()
            at = polled[-1].offset + 1
    seconds = time.monotonic() - began
    consumer.close()
    return {"seconds": seconds}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
