"""What an event costs in a large store and among several workers, and what arsync's memory comes to."""
