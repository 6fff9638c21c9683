"""Documents that are forgotten: known by place and text, left out of each run, removed at once."""
