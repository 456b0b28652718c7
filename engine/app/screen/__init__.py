"""The analyst's screen: `arsync conflicts work`."""
