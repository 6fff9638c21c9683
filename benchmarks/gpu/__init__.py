"""What `benchmarks.gpu_core` and `benchmarks.gpu_run` are made of."""
