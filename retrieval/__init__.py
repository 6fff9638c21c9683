"""Documents to an index, a question to passages."""
