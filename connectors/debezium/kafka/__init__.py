"""Reads Debezium's change records from Kafka, and sets up the Kafka Connect connector that writes them there.

The AR side's topics are served from here too, by the same clients with the same logins (`feed`).
"""
