"""A real Apache Kafka and Kafka Connect without Docker, for tests and benchmarks; Maven resolves `pom.xml`."""
