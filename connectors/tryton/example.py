"""How a Tryton's settings look, for `arsync init`. `{name}` stands for the system's name."""

EXAMPLE = """\
# Its database is read by Debezium, which runs beside arsync. The login needs LOGIN, REPLICATION and SELECT on the
# tables, and either their ownership or a publication that an owner made; wal_level must be logical, and the tables
# should have REPLICA IDENTITY FULL.
[systems.{name}.source]
type = "debezium"
host = "127.0.0.1"
port = 5432
database = "tryton"
user = "capture"
password_env = "TRYTON_DATABASE_PASSWORD"

# Payments are written through its JSON-RPC. Without this section nothing is written back.
[systems.{name}.target]
url = "http://127.0.0.1:8000"
database = "tryton"
user = "ar_bot"
password_env = "TRYTON_PASSWORD"
"""
