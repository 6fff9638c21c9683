"""Published adapters: their versions, aliases and gate records, and their copies in a bucket."""
