"""Checks before work begins, each with a remedy."""
