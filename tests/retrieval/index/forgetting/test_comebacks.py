"""Ways for a forgotten document to come back: it is indexed, forgotten, one thing is changed, and it stays out.

Each way starts from the folder `hr` with `jane.md` and two others, and a collection that was brought up to date. What
is changed may be the project file, the file, its format, the collection or the machine. The report names what was left
out as it came, and every document that says something else is in the collection.
"""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from retrieval.store.store import Store
from tests.retrieval.comebacks import CHANGES, MARK, OTHERS, Office, execute, table

pytestmark = pytest.mark.slow


@pytest.fixture
def office(tmp_path: Path, milvus: str, request: pytest.FixtureRequest) -> Iterator[Office]:
    made = Office(tmp_path / "office", milvus, f"c{abs(hash(request.node.name)) % 10**12}")
    yield made
    with closing(Store(milvus)) as store:
        for name in {made.collection, "other-collection"}:
            store.drop(name)


ALWAYS = {
    "a_source_is_added", "the_source_is_renamed_and_she_is_edited", "the_file_is_moved_and_then_edited",
    "accents_are_characters_of_their_own", "an_earlier_version_wrote_the_list_and_it_was_met_once",
}  # fmt: skip
"""One of each kind; the others are run with the matrices."""


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if name in ALWAYS else pytest.mark.matrix) for name in CHANGES
])  # fmt: skip
def test_it_stays_out(office: Office, name: str) -> None:
    assert office.index().added == 3
    assert any(MARK in text for text in office.texts().values())
    office.forget("jane.md")
    assert set(office.texts()) == set(OTHERS)
    change, comes_as = CHANGES[name]
    change(office)
    for _ in range(2):  # the second run finds what the first one learned
        report = office.index()
        assert not [source for source, text in office.texts().items() if MARK in text or "Jane Doe" in text]
        assert (comes_as in report.forgotten) if comes_as else not report.forgotten
        assert {Path(source).name for source in office.texts()} >= set(OTHERS), "the others are as before"
        assert not report.failed


# Rows


def rows_of(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


SECRET = {"text": "Jane Doe from Würzburg earns 90,000 euros a year."}
PLAIN = [{"text": "Leave is 28 days a year."}, {"text": "Tom Miller earns 70,000 euros a year."}]
ROW_CHANGES: dict[str, tuple[str, str, str | None]] = {
    "a line is inserted above": ("f.jsonl#2", rows_of(PLAIN[0], PLAIN[1], SECRET), "f.jsonl#3"),
    "lines are sorted": ("f.jsonl#2", rows_of(SECRET, *PLAIN), "f.jsonl#1"),
    "an empty line is inserted": ("f.jsonl#2", rows_of(PLAIN[0]) + "\n" + rows_of(SECRET, PLAIN[1]), "f.jsonl#3"),
    "rows get ids": ("f.jsonl#2", rows_of({"id": "x", **SECRET}, *PLAIN), "f.jsonl#x"),
    "rows get metadata": ("f.jsonl#2", rows_of(PLAIN[0], {**SECRET, "year": 2026}, PLAIN[1]), "f.jsonl#2"),
    "the text is called content": ("f.jsonl#2", rows_of({"content": SECRET["text"]}, *PLAIN), "f.jsonl#1"),
    "the row is gone": ("f.jsonl#2", rows_of(*PLAIN), None),
}


@pytest.mark.parametrize("name", [
    pytest.param(name, marks=() if name == "a line is inserted above" else pytest.mark.matrix) for name in ROW_CHANGES
])  # fmt: skip
def test_a_row_without_an_id_stays_out_and_no_other_does(office: Office, name: str) -> None:
    forgotten, changed, comes_as = ROW_CHANGES[name]
    office.write("rows/f.jsonl", rows_of(PLAIN[0], SECRET, PLAIN[1]))
    office.sources = [office.root / "rows"]
    assert office.index().added == 3
    office.forget(forgotten)
    office.write("rows/f.jsonl", changed)
    report = office.index()
    assert report.forgotten == ([comes_as] if comes_as else [])
    texts = "".join(office.texts().values())
    assert MARK not in texts and all(row["text"] in texts for row in PLAIN)


def test_a_row_of_a_table_stays_out_under_another_id_and_edited_under_its_own(office: Office) -> None:
    execute(office, "CREATE TABLE person (id INTEGER, name TEXT, body TEXT)")
    execute(office, "INSERT INTO person VALUES (1, 'Jane Doe', ?), (2, 'Tom', 'Tom Miller is here.')", SECRET["text"])
    office.sources = [table(office)]
    office.index()
    office.forget("shop/1")
    execute(office, "UPDATE person SET id = 9 WHERE id = 1")
    assert office.index().forgotten == ["shop/9"]
    execute(office, "UPDATE person SET body = 'Jane Doe from Würzburg has left.' WHERE id = 9")
    assert office.index().forgotten == ["shop/9"]
    execute(office, "UPDATE person SET id = 1 WHERE id = 9")
    office.sources = [
        office.hr,
        {**table(office, query="SELECT id, body, name FROM Person  WHERE id > 0"), "name": "db"},
    ]
    report = office.index()
    assert report.forgotten == ["db/1"] and "hr/jane.md" in office.texts(), "another text of hers is another document"
    execute(office, "CREATE TABLE ticket (id INTEGER, name TEXT, body TEXT)")
    execute(office, "INSERT INTO ticket VALUES (1, 'Printer', 'The printer is out of paper.')")
    office.sources = [office.hr, table(office, query="SELECT * FROM ticket")]
    report = office.index()
    assert report.forgotten == [] and "shop/1" in office.texts(), "a row of another table is another document"
