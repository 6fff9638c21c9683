"""Write the quickstart's documents, training rows and test questions again.

    python -m examples.quickstart.build            # rewrite
    python -m examples.quickstart.build --check    # exit 1 where a file on disk differs, and name it

The same packages give the same files, byte for byte; README.md names the versions.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from examples.quickstart.changes import as_row, changes, corrected
from examples.quickstart.documents import document
from examples.quickstart.facts import collect
from examples.quickstart.questions import ask_all
from examples.quickstart.rows import training_rows
from examples.quickstart.selection import select

FOLDER = Path(__file__).parent


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 where `--check` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    files = build()
    if parser.parse_args(arguments).check:
        differing = differences(files, FOLDER)
        print("\n".join(differing) or "The files on disk are what the script writes.")
        return 1 if differing else 0
    write(files, FOLDER)
    print(f"{len(files)} files written.")
    return 0


def build() -> dict[str, str]:
    """The content of every file by its path below this folder."""
    corrections = changes()
    entities = corrected(collect(), corrections)
    selection = select(entities, corrections)
    rows = training_rows(selection)
    return {
        **{f"docs/{entity.source}": document(entity) for entity in entities},
        "data/train.jsonl": _lines(rows),
        "data/questions.jsonl": _lines(ask_all(selection, rows)),
        "data/changes.jsonl": _lines(map(as_row, corrections)),
    }


def differences(files: Mapping[str, str], folder: Path) -> list[str]:
    """Paths that are missing, or hold something else, or should not be there."""
    found = {path.relative_to(folder).as_posix() for part in ("docs", "data") for path in _files(folder / part)}
    differing = [path for path in files if path in found and (folder / path).read_bytes() != files[path].encode()]
    return sorted({*differing, *(found ^ set(files))})


def write(files: Mapping[str, str], folder: Path) -> None:
    """Make the folders docs/ and data/ hold exactly `files`."""
    for path in differences(files, folder):
        if path not in files:
            (folder / path).unlink()
            continue
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(files[path].encode())


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    raise SystemExit(main())
