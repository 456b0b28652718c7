"""An ERP's database at work, Debezium on it, and an arsync that follows; what benchmarks of the whole way share."""
