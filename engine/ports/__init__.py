"""What a connector must offer, and the errors that sort what the engine does next."""
