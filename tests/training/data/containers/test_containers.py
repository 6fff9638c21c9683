"""One set of rows in every container, encoding and compression gives the same records; what is no rows is named."""

import bz2
import csv
import gzip
import io
import json
import lzma
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from cluster.errors import TandemError
from training.config import DataSource
from training.data.containers import json_documents
from training.data.sources import digest_source, open_source

ROWS = [
    {"prompt": "Wie heißt das?", "completion": "Käse, „gut\"\nund alt"},
    {"prompt": "价格 \U0001f9c0, [x]", "completion": "a\tb;c"},
    {"prompt": "three {", "completion": "] }"},
]  # fmt: skip


def values(path: Path, split: str = "train") -> list[Any]:
    return [record.value or record.reason for record in open_source(DataSource(path=path, split=split)).records]


def container(path: Path) -> str:
    return open_source(DataSource(path=path)).container


def refused(path: Path) -> str:
    with pytest.raises(TandemError) as caught:
        values(path)
    return str(caught.value)


def jsonl(rows: list[Any] = ROWS, **options: Any) -> str:
    return "".join(json.dumps(row, **options) + "\n" for row in rows)


def table(delimiter: str) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue()


DOCUMENTS: dict[str, Callable[[], str]] = {
    "rows.jsonl": jsonl,
    "named.json": jsonl,
    "raw.jsonl": lambda: jsonl(ensure_ascii=False),
    "crlf.jsonl": lambda: jsonl().replace("\n", "\r\n"),
    "blank.jsonl": lambda: "\n \n" + jsonl().replace("\n", "\n\n"),
    "array.json": lambda: json.dumps(ROWS),
    "pretty.json": lambda: json.dumps(ROWS, indent=2, ensure_ascii=False),
    "lines.json": lambda: "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
    "wrapped.json": lambda: json.dumps({"version": 1, "data": ROWS, "license": {"name": "none"}}),
    "wrapped": lambda: json.dumps({"data": ROWS}, indent=1),
    "rows.csv": lambda: table(","),
    "semicolons.csv": lambda: table(";"),
    "rows.tsv": lambda: table("\t"),
}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_texts_in_every_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    path = tmp_path / name
    path.write_bytes(DOCUMENTS[name]().encode(encoding))
    assert values(path) == ROWS
    assert ("UTF" in container(path)) == (encoding[4:6] in ("16", "32"))


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize(("suffix", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)])
def test_compressed_texts(tmp_path: Path, name: str, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"{name}.{suffix}"
    path.write_bytes(compress(DOCUMENTS[name]().encode("utf-16")))
    assert values(path) == ROWS
    path.write_bytes(compress(jsonl(ROWS * 500).encode())[:-20])
    assert "cut short or damaged" in refused(path)


def test_parquet_and_arrow(tmp_path: Path) -> None:
    data = pa.Table.from_pylist(ROWS * 300)
    pq.write_table(data, tmp_path / "rows.parquet")
    with pa.ipc.new_file(tmp_path / "rows.arrow", data.schema) as file:
        file.write_table(data)
    with pa.ipc.new_stream(tmp_path / "stream", data.schema) as file:
        file.write_table(data)
    pyarrow.feather.write_feather(data, tmp_path / "rows.feather")
    for name in ("rows.parquet", "rows.arrow", "stream", "rows.feather"):
        assert values(tmp_path / name) == ROWS * 300, name
        (tmp_path / "cut").write_bytes((tmp_path / name).read_bytes()[:-300])
        assert "is not readable" in refused(tmp_path / "cut")
    (tmp_path / "rows.parquet.gz").write_bytes(gzip.compress((tmp_path / "rows.parquet").read_bytes()))
    assert "is Parquet, compressed with gzip" in refused(tmp_path / "rows.parquet.gz")


def test_folders_that_save_to_disk_wrote(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict

    one = Dataset.from_list(ROWS)
    one.save_to_disk(str(tmp_path / "one"), num_shards=2)
    DatasetDict({"train": one, "test": one.select([1])}).save_to_disk(str(tmp_path / "splits"))
    assert values(tmp_path / "one") == values(tmp_path / "splits") == ROWS
    assert values(tmp_path / "splits", "test") == ROWS[1:2]
    hub = DataSource(hub=str(tmp_path / "splits"), split="test")
    assert [record.value for record in open_source(hub).records] == ROWS[1:2]
    with pytest.raises(TandemError, match=r"without the split `dev`; it has test, train"):
        values(tmp_path / "splits", "dev")
    digest = digest_source(DataSource(path=tmp_path / "one"))
    assert (
        digest
        == digest_source(DataSource(path=tmp_path / "one"))
        != digest_source(DataSource(path=tmp_path / "splits"))
    )
    of_splits = {digest_source(DataSource(path=tmp_path / "splits", split=split)) for split in ("train", "test")}
    assert len(of_splits) == 2, "a training on another split is another training"


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("rows.jsonl", jsonl())


def tarred(path: Path) -> None:
    (path.parent / "rows.jsonl").write_text(jsonl())
    with tarfile.open(path, "w") as file:
        file.add(path.parent / "rows.jsonl", "rows.jsonl")


def compressed_tar(path: Path) -> None:
    tarred(path.with_name("inner"))
    path.write_bytes(gzip.compress(path.with_name("inner").read_bytes()))


def data_base(path: Path) -> None:
    with sqlite3.connect(path) as base:
        base.execute("create table rows (prompt, completion)")
    base.close()


OTHERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "rows.xlsx": (zipped, "is a ZIP archive (Excel's .xlsx is one, too)"),
    "rows.tar": (tarred, "is a tar archive"),
    "rows.tgz": (compressed_tar, "is a tar archive"),
    "rows.db": (data_base, "is an SQLite data base"),
    "rows.npy": (lambda path: np.save(path, np.ones(3)), "is a numpy array"),
    "rows.jsonl.zst": (lambda path: path.write_bytes(b"\x28\xb5\x2f\xfd" + b"x" * 40), "compressed with Zstandard"),
    "page.jsonl": (lambda path: path.write_text("<!doctype html><html></html>"), "is an HTML page"),
    "pointer.parquet": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid x"), "Git LFS"),
    "rows.jsonl": (lambda path: path.write_text(table("\t")), "is a table of texts (TSV) by its first line"),
    "folder": (lambda path: path.mkdir(), "is a folder"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_file_of_rows_is_named(tmp_path: Path, name: str) -> None:
    make, what = OTHERS[name]
    make(tmp_path / name)
    assert what in refused(tmp_path / name)


def test_a_folder_names_the_files_in_it(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.parquet", "readme.md"):
        (tmp_path / name).write_text("x")
    assert "is a folder (with a.jsonl, b.parquet)" in refused(tmp_path)


BROKEN_DOCUMENTS = {
    '{"prompt": ["a", "b"], "completion": ["x", "y"]}': "of columns (`prompt`, `completion`) without a list `data`",
    '{"train": [{"prompt": "a"}], "test": [{"prompt": "b"}]}': "its lists are `train`, `test`",
    '{"data": [], "system": "Be brief."}': "has the key `system` beside `data`",
    '{"data": {"a": 1}}': "without a list `data`",
    '[{"prompt": "a"},\n]': "is not JSON: line 2, column 1: Expecting value",
    '[{"prompt": "a"}\n {"prompt": "b"}]': "is not JSON: line 2, column 2: Expecting ',' delimiter",
    '[\n{"prompt": "a"}]\nx': "is not JSON: line 3, column 1: Extra data",
    '{"version": 1,\n "data": [{"prompt": "a"}': "is not JSON: line 2, column 26: Expecting ',' delimiter",
    '{"version": 1\n "data": []}': "is not JSON: line 2, column 2: Expecting ',' delimiter",
    '"text"': "is a JSON document without rows",
}


@pytest.mark.parametrize("text", BROKEN_DOCUMENTS)
def test_a_json_document_that_is_none_or_has_no_rows(tmp_path: Path, text: str) -> None:
    (tmp_path / "rows.json").write_text(text)
    with pytest.raises(TandemError) as caught:
        list(json_documents.read_json(tmp_path / "rows.json"))
    assert BROKEN_DOCUMENTS[text] in str(caught.value)


@pytest.mark.parametrize("characters", [1, 2, 7, 50])
def test_a_document_is_read_in_blocks_of_any_size(
    tmp_path: Path, characters: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_documents, "READ_CHARACTERS", characters)
    rows = [*ROWS, 12, -1.5e3, True, None, "x", [], {"nested": [[1, 2], {"a": "\\\""}]}]  # fmt: skip
    for number, text in enumerate((json.dumps(rows), json.dumps({"version": 12, "data": rows}, indent=1))):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        read = [record.value or record.reason for record in json_documents.read_json(path)]
        assert read[:3] == ROWS and read[-1] == rows[-1]
        assert read[3] == "a JSON number, not an object" and len(read) == len(rows)


def test_halves_of_characters_are_named_where_they_are(tmp_path: Path) -> None:
    lines = [
        r'{"prompt": "fine \ud83d\ude00", "completion": "b"}', r'{"prompt": "smile \ud83d please", "completion": "b"}',
        r'{"prompt": "a", "completion": "b", "tags": ["x", {"y": "\uDE00"}]}', r'{"\udbff": 1}',
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    (tmp_path / "rows.json").write_text(f"[{','.join(lines)}]")
    for name in ("rows.jsonl", "rows.json"):
        first, *others = values(tmp_path / name)
        assert first == {"prompt": "fine \U0001f600", "completion": "b"}
        assert others == [
            r"a lone surrogate in `prompt` (\ud83d, which is half of a character)",
            r"a lone surrogate in `tags.2.y` (\ude00, which is half of a character)",
            r"a lone surrogate in `the name of a key` (\udbff, which is half of a character)",
        ]


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pyarrow.table([pyarrow.array([each]) for each in "abc"], names=["prompt", "completion", "prompt"])
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert "is Parquet with two columns `prompt`" in refused(tmp_path / "rows.parquet")


def test_tables_refuse_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,messages\na,b\n")
    assert "a table with the column `messages`" in refused(path)
    path.write_text("prompt,prompt\na,b\n")
    assert "two columns `prompt`" in refused(path)
    path.write_text('prompt,completion\na,b,c\n"x\ny",z\n"[{""role"": ""user"", ""content"": 1}]",c\n')
    cells, row, messages = values(path)
    assert cells == "3 cells where the first line names 2 columns" and row == {"prompt": "x\ny", "completion": "z"}
    assert messages.startswith("`prompt` holds messages")
    path.write_text('prompt,completion\n"a,b\n')
    assert "cannot be read behind line" in refused(path)
    path.write_bytes(b"prompt,completion\ncaf\xe9,b\n")
    assert "a table and not UTF-8 text" in refused(path)
