"""Milvus: the connection, collections and rows, and the local server."""
