"""The JDBC sink's side: Debezium's own connector mirrors the same rows into PostgreSQL, table by table."""
