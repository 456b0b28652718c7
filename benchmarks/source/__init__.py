"""What Debezium alone brings: through Kafka Connect into the topic, and embedded into this process."""
