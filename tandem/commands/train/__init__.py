"""A training: planned, run, and its result exported."""
