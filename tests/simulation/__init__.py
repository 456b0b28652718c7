"""A seeded simulation of whole lives: the production code of arsync between a hostile ERP and an AR side in memory.

`python -m tests.simulation --seed N --invoices M --json` runs it. Everything that is not simulated is the real part:
grouping, pipeline, rules, unit of work, PostgreSQL, intake and dispatcher. Simulated are the ERP, the clock, the
network between, and the points at which the process dies.
"""
