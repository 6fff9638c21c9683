"""A file becomes Markdown: which kinds are read, by what, and within which limits."""
