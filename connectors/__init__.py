"""One folder for each system or transport; the same file names in each."""
