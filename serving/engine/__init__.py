"""vLLM under Ray Serve."""
