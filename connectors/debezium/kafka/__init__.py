"""Reads Debezium's change records from Kafka, and sets up the Kafka Connect connector that writes them there."""
