"""Base models, adapters and retrieval behind one OpenAI-compatible endpoint: vLLM under Ray Serve."""
