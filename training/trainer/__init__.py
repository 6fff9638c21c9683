"""Ray Train's workers: the loop, its checkpoints and its metrics."""
