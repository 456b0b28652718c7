"""How fast the journal is proven and folded, beside other readers of the same number of events."""
