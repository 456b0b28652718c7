"""The sync: reads an ERP's changes, decides, stores, and writes back."""
