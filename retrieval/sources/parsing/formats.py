"""The kinds of files that are read, by their suffix, and what their texts depend on beside their bytes."""

from importlib.util import find_spec

TEXT_SUFFIXES = frozenset({
    ".md", ".markdown", ".mdx", ".txt", ".text", ".rst", ".adoc", ".asciidoc", ".org",
})  # fmt: skip
DELIMITED_SUFFIXES = frozenset({".csv", ".tsv"})
HTML_SUFFIXES = frozenset({".html", ".htm", ".xhtml"})
# What is kept as a block of code, and the name of its language there.
CODE = {
    ".log": "", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".ini": "ini", ".cfg": "ini", ".conf": "",
    ".properties": "properties", ".diff": "diff", ".patch": "diff", ".tex": "tex", ".sql": "sql",
    ".py": "python", ".pyi": "python", ".r": "r", ".jl": "julia", ".m": "matlab", ".lua": "lua", ".pl": "perl",
    ".rb": "ruby", ".php": "php", ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "jsx",
    ".ts": "typescript", ".tsx": "tsx", ".vue": "vue", ".svelte": "svelte", ".css": "css", ".scss": "scss",
    ".c": "c", ".h": "c", ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hpp": "cpp", ".cs": "csharp", ".fs": "fsharp",
    ".vb": "vb", ".java": "java", ".kt": "kotlin", ".kts": "kotlin", ".scala": "scala", ".groovy": "groovy",
    ".go": "go", ".rs": "rust", ".swift": "swift", ".dart": "dart", ".ex": "elixir", ".exs": "elixir",
    ".erl": "erlang", ".hs": "haskell", ".ml": "ocaml", ".clj": "clojure", ".lisp": "lisp", ".el": "lisp",
    ".sh": "sh", ".bash": "sh", ".zsh": "sh", ".ps1": "powershell", ".bat": "bat", ".cmd": "bat",
    ".proto": "proto", ".graphql": "graphql", ".tf": "hcl", ".cmake": "cmake", ".gradle": "groovy",
}  # fmt: skip
WORD_SUFFIXES = frozenset({".docx", ".docm", ".dotx"})
SHEET_SUFFIXES = frozenset({".xlsx", ".xlsm", ".xltx"})
SLIDE_SUFFIXES = frozenset({".pptx", ".pptm", ".ppsx", ".potx"})
OPEN_DOCUMENT_SUFFIXES = frozenset({".odt", ".ods", ".odp"})
OLD_SHEET_SUFFIXES = frozenset({".xls"})
DATA_SUFFIXES = frozenset({".json", ".xml", ".ipynb"})
MAIL_SUFFIXES = frozenset({".eml", ".msg"})
ROWS_SUFFIXES = frozenset({".jsonl", ".ndjson"})
SUFFIXES = frozenset().union(
    TEXT_SUFFIXES, DELIMITED_SUFFIXES, HTML_SUFFIXES, CODE, WORD_SUFFIXES, SHEET_SUFFIXES, SLIDE_SUFFIXES,
    OPEN_DOCUMENT_SUFFIXES, OLD_SHEET_SUFFIXES, DATA_SUFFIXES, MAIL_SUFFIXES, ROWS_SUFFIXES,
    {".pdf", ".epub", ".rtf"},
)  # fmt: skip


def text_version(version: str, suffix: str, encoding: str | None) -> str:
    """What changes whenever the text that is read of a file does.

    Where a reader itself changes, `REVISION` is raised in `retrieval/index/chunking.py`.

    Args:
        version: changes with the bytes of the file.
        encoding: what the source says of its files.
    """
    marks = [f"encoding {encoding}"] if encoding else []
    if suffix.lower() == ".pdf" and find_spec("rapidocr"):
        marks.append("OCR")
    return "; ".join([version, *marks])
