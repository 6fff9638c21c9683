"""Whether an answer gives an accepted value, in whatever words."""
