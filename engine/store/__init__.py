"""The only owner of SQL and of transactions."""
