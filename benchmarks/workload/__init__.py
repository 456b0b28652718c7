"""A Tryton's database at work, without the Tryton: seeded lives of invoices, as Debezium would send them."""
