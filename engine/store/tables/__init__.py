"""The store's tables. Migrations create them; a test holds both to each other.

A record's whole value stands in its `record` column as canonical JSON; the other columns are what queries select by.
"""

from engine.store.tables import ar_side, documents, intents, journal, source, upkeep

__all__ = ["ar_side", "documents", "intents", "journal", "source", "upkeep"]
