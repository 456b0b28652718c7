"""Events a second from a Kafka topic to committed state in PostgreSQL: arsync, a ceiling without logic, and peers."""
