"""The ground: every life cycle of arsync, defined once and compiled to frozen tables."""
