"""How long a change and a decision take from one side to the other, station by station."""
