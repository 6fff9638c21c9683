"""One OpenAI-compatible endpoint: base models, adapters and retrieval."""
