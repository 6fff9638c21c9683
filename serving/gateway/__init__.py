"""A request from the port to its answer."""
