"""From rows to a published adapter."""
