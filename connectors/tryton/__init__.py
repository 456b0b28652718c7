"""Tryton, read through its PostgreSQL and written through its JSON-RPC."""
