"""Text to the terms that BM25 counts: the same way for documents and questions, in every language."""
