"""A comparison's report, for a person."""
