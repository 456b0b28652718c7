"""Reads Debezium's change records: from a running Debezium, or from a file that holds what one has sent."""
