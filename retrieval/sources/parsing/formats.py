"""The kinds of files that are read, by their suffix."""

TEXT_SUFFIXES = frozenset({".md", ".markdown", ".txt", ".text", ".rst"})
CONVERTED_SUFFIXES = frozenset({".html", ".htm", ".pdf", ".docx", ".pptx", ".xlsx", ".csv"})
ROWS_SUFFIXES = frozenset({".jsonl", ".ndjson"})
SUFFIXES = TEXT_SUFFIXES | CONVERTED_SUFFIXES | ROWS_SUFFIXES
PACKED_SUFFIXES = frozenset({".docx", ".pptx", ".xlsx"})
