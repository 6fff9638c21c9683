"""A question to passages: candidates, fused, reranked and cited."""
