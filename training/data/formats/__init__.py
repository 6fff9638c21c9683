"""The formats of a row: which keys each has, and how each becomes a conversation."""
