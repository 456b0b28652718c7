"""Configuration, registry, wiring and the command line."""
