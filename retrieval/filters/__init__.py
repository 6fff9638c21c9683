"""Which chunks a search may find: conditions on metadata, and a caller's rights."""
