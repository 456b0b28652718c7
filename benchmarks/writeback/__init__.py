"""How fast arsync writes payments into a real Tryton, against a bare loop over the same client."""
