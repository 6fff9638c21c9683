"""Folders of documents to hits with citations: chunked, embedded, kept in Milvus, rendered into a prompt."""
