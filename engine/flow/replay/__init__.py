"""Reads the journal again: proves it, tells what was true at a time, and what would have been decided otherwise."""
