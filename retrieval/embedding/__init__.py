"""Texts to vectors: a model in this process, workers on Ray, or an endpoint."""
