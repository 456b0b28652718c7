"""Pure decisions over the model and the state machines."""
