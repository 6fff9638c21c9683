"""Documents to rows of a collection: chunked, embedded, written and forgotten."""
