"""Rows become sequences of token ids, many at a time."""
