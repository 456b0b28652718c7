"""Pipeline, dispatcher and the daemon's loop: where values meet the store and the outside world."""
