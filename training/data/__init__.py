"""Rows are read, checked, tokenized and packed."""
