"""JSONL files as sources: each row is a document."""

import json
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.filters.rights import Attributes
from retrieval.sources import rows as jsonl
from retrieval.sources.config import FolderSource
from retrieval.sources.document import Document, Unreadable
from retrieval.sources.sources import all_documents, check_sources


def write(path: Path, *lines: "dict[str, Any] | str") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def rows(path: Path, **settings: Any) -> list[Document]:
    source = FolderSource.model_validate({"path": path, **settings})
    check_sources([source])
    return list(all_documents([source]))


def test_each_row_is_a_document(tmp_path: Path) -> None:
    file = write(
        tmp_path / "docs/facts.jsonl",
        {"_id": "iron", "title": "Iron", "text": "It rusts.\r\n"},
        "",
        {"id": 7, "content": "It shines."},
        {"text": "No id."},
    )
    write(tmp_path / "docs/a.md", "# A")
    found = rows(tmp_path / "docs")
    assert [row.source for row in found] == ["a.md", "facts.jsonl#iron", "facts.jsonl#7", "facts.jsonl#4"]
    assert [row.read() for row in found[1:]] == ["# Iron\n\nIt rusts.", "It shines.", "No id."]
    assert all(row.path == file for row in found[1:])


def test_a_version_is_that_of_the_row(tmp_path: Path) -> None:
    one, two = rows(write(tmp_path / "a.jsonl", {"id": 1, "text": "one"}, {"id": 2, "text": "two"}))
    again, new = rows(write(tmp_path / "a.jsonl", {"id": 2, "text": "two"}, {"id": 1, "text": "new"}))
    assert two.version() == again.version() and one.version() != new.version()


def test_fields_become_metadata_and_never_rights(tmp_path: Path) -> None:
    row = {
        "id": 1,
        "text": "t",
        "year": 2024,
        "good": True,
        "tenant": "acme",
        "access": ["all"],
        "Odd": 1,
        "none": None,
    }
    row |= {"long": "x" * 5000, "nul": "a\0b", "nan": float("nan"), "team": "row"}
    (found,) = rows(write(tmp_path / "a.jsonl", row), tenant="blue", access=["hr"], metadata={"team": "config"})
    metadata = {"year": 2024, "good": True, "tenant": "acme", "team": "config"}
    assert found.attributes == Attributes("blue", ("hr",), metadata)


def test_a_broken_line_is_said_and_the_rest_goes_on(tmp_path: Path) -> None:
    lines = ["{", "[1]", '{"id": true, "text": "t"}', '{"id": 5, "text": 7}', '{"id": 6, "text": "\\ud800"}']
    lines += ["[" * 100_000, '{"id": "a\\u0000b", "text": "t"}', '{"id": 9, "text": "fine"}']
    found = rows(write(tmp_path / "a.jsonl", *lines))
    reasons = [
        "no JSON: Expecting",
        "no JSON object",
        "an id",
        "has no text and no content",
        "half a char",
        "no JSON",
        "an id",
    ]
    assert [row.source.removeprefix("a.jsonl") for row in found] == [":1", ":2", ":3", "#5", "#6", ":6", ":7", "#9"]
    for row, reason in zip(found, reasons, strict=False):
        with pytest.raises(Unreadable, match=reason):
            row.version()
    assert found[-1].read() == "fine"


def test_bytes_that_are_no_text_are_a_broken_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "mark"}\r\n{"text": "\xff"}\n{"text": "fine"}\n')
    first, broken, last = rows(tmp_path / "a.jsonl")
    assert (first.read(), last.read()) == ("mark", "fine")
    with pytest.raises(Unreadable, match="no JSON"):
        broken.read()


def test_a_long_line_is_left_out_however_the_file_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 20)
    file = b'{"text": "a"}\n{"text": "' + b"x" * 100 + b'"}\n{"text": "b"}'
    for size in (1, 7, 50, 500):
        chunks = [file[start : start + size] for start in range(0, len(file), size)]
        first, long, last = jsonl.row_documents("f", chunks, Attributes(), None)
        assert (first.read(), long.source, last.read()) == ("a", "f:2", "b")
        with pytest.raises(Unreadable, match="on its line"):
            long.read()


def test_a_file_of_any_size_takes_little_memory() -> None:
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"

    def chunks() -> Iterator[bytes]:
        for _ in range(300):
            yield line * 1000

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in jsonl.row_documents("f", chunks(), Attributes(), None)) == 300_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB, of 300 MB


def test_a_very_long_id_is_shortened(tmp_path: Path) -> None:
    one, two = rows(write(tmp_path / "a.jsonl", *({"id": "x" * 5000 + end, "text": "t"} for end in "ab")))
    assert one.source != two.source and len(one.source) < 1000


def test_a_bad_line_never_has_the_name_of_a_row(tmp_path: Path) -> None:
    """Whatever is wrong with it: the ids are the numbers of all lines, as numbers and as texts."""
    bad = ["{", "[1]", "7", '{"id": true, "text": "t"}', '{"id": [1], "text": "t"}', '{"text": 1}', '{"content": null}']
    bad += [
        '{"id": NaN, "text": "t"}',
        '{"text": "\\ud800"}',
        '{"id": {"a": 1}, "text": "t"}',
        '{"id": ' + "9" * 5000 + "}",
    ]
    valid = [json.dumps({"id": number, "text": "t"}) for number in range(1, 2 * len(bad) + 1)]
    valid = [
        line if number % 2 else line.replace(f": {number},", f': "{number}",') for number, line in enumerate(valid, 1)
    ]
    found = rows(write(tmp_path / "a.jsonl", *bad, *valid))
    assert len({row.source for row in found}) == len(found) == len(bad) + len(valid)
    for row in found[: len(bad)]:
        with pytest.raises(Unreadable):
            row.version()
    assert [row.read() for row in found[len(bad) :]] == ["t"] * len(valid)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("1", "1"), ('"1"', "1"), ("0", "0"), ("-3", "-3"), ("1.5", "1.5"), ("1.0", "1.0"), ("1e3", "1000.0"),
        (str(2**80), str(2**80)), ('"a b"', "a b"), ('"../x#y"', "../x#y"), ('"Ü"', "Ü"), ("null", None), ('""', None),
    ],
)  # fmt: skip
def test_ids_of_any_type(tmp_path: Path, written: str, name: str | None) -> None:
    (row,) = rows(write(tmp_path / "a.jsonl", f'{{"id": {written}, "text": "t"}}'))
    assert (row.source, row.read()) == (f"a.jsonl#{name or 1}", "t")
