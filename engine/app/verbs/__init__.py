"""One file for each verb of the command line; loaded only when called."""
