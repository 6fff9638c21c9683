"""SHA-256 digests of values, files and folders, as hex strings of 64 characters."""

import hashlib
import json
import unicodedata
from pathlib import Path
from typing import Any


def digest_json(value: Any) -> str:
    """The digest of a JSON value, independent of the order of keys."""
    return hashlib.sha256(to_canonical_json(value).encode()).hexdigest()


def to_canonical_json(value: Any) -> str:
    """The text of a JSON value that is hashed: the same for every order of keys."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def digest_question(question: str) -> str:
    """The digest under which a question is known, however it is spaced, cased or composed.

    What an adapter was trained on is told by these digests (`question_sha256` in its trained.jsonl), so that a test
    question that was trained on is found without the training data.
    """
    return hashlib.sha256(normalise_question(question).encode()).hexdigest()


def normalise_question(question: str) -> str:
    """NFKC, case folded, one space between words, none around."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def digest_file(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_folder(path: Path, suffixes: tuple[str, ...] = ()) -> str:
    """The digest of the names and bytes of all files below a folder, or of those that end in one of `suffixes`."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and (not suffixes or file.suffix in suffixes))
    return digest_json([[file.relative_to(path).as_posix(), digest_file(file)] for file in files])
