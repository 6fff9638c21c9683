"""Ways for a forgotten document to come back, one change each, which test_comebacks.py tries."""

import json
import shutil
import sqlite3
import unicodedata
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from cluster.storage.objects import Folder, SharedRecord
from retrieval.config import RetrievalConfig
from retrieval.index.forgetting.forget import forget_document
from retrieval.index.forgetting.forgotten import ForgottenList
from retrieval.index.indexing import index_documents
from retrieval.index.report import IndexReport
from retrieval.store.store import Store
from tests.retrieval.site import serve_folder

JANE = "# Jane Doe\n\nJane Doe from Würzburg earns 90,000 euros a year.\n\n- She is on leave until May.\n"
EDITED = JANE.replace("90,000", "95,000")
OTHERS = {"tom.md": "# Tom\n\nTom Miller earns 70,000 euros a year.\n", "rules.md": "# Rules\n\nLeave is 28 days.\n"}
MARK = "Würzburg"
"""A word of hers that no other document has."""
Sources = list[Any]


@dataclass
class Office:
    """A project: its folder, its storage and its collection."""

    root: Path
    uri: str
    collection: str
    sources: Sources = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.hr = self.root / "hr"
        self.hr.mkdir(parents=True)
        for name, text in {"jane.md": JANE, **OTHERS}.items():
            (self.hr / name).write_text(text)
        self.sources = self.sources or [self.hr]

    @property
    def record(self) -> SharedRecord:
        return SharedRecord(Folder(self.root / "storage"), f"forgotten/{self.collection}.json")

    def index(self) -> IndexReport:
        config = RetrievalConfig.model_validate({"sources": self.sources, **self.settings})
        return index_documents(config, self.collection, self.uri, lambda _: None, ForgottenList(self.record))

    def forget(self, name: str) -> None:
        forget_document(self.collection, name, self.uri, self.record)

    def texts(self) -> dict[str, str]:
        """What can be found, by document."""
        with closing(Store(self.uri)) as store:
            physical = store.current(self.collection)
            assert physical is not None
            store.load(physical)
            fields = ["source", "position", "content"]
            rows = store.client.query(physical, filter='id != ""', output_fields=fields, limit=1000)
        texts: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: row["position"]):
            texts[row["source"]] = texts.get(row["source"], "") + row["content"] + "\n"
        return texts

    def move(self, name: str) -> Path:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(self.hr / "jane.md", target))

    def write(self, name: str, content: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


Change = Callable[[Office], None]
CHANGES: dict[str, tuple[Change, str | None]] = {}
"""By name, what is changed, and the name under which the document then comes; None where it does not come at all."""


def way(comes_as: str | None = "jane.md") -> Callable[[Change], Change]:
    def keep(change: Change) -> Change:
        CHANGES[change.__name__] = (change, comes_as)
        return change

    return keep


def add_source(office: Office, **values: Any) -> None:
    office.write("handbook/leave.md", "# Handbook\n\nAsk your manager for leave.\n")
    office.sources = [{"path": office.hr, **values}, office.root / "handbook"]


# The project file


@way()
def nothing_is_changed(office: Office) -> None:
    pass


@way("hr/jane.md")
def a_source_is_added(office: Office) -> None:
    add_source(office)


@way("hr/jane.md")
def a_source_is_added_and_she_is_edited(office: Office) -> None:
    add_source(office)
    office.write("hr/jane.md", EDITED)


@way("people/jane.md")
def the_source_is_renamed(office: Office) -> None:
    add_source(office, name="people")


@way("people/jane.md")
def the_source_is_renamed_and_she_is_edited(office: Office) -> None:
    add_source(office, name="people")
    office.write("hr/jane.md", EDITED)


@way("hr/jane.md")
def the_source_is_the_folder_above(office: Office) -> None:
    office.sources = [office.root]


@way("hr/jane.md")
def the_source_is_the_folder_above_and_she_is_edited(office: Office) -> None:
    office.sources = [office.root]
    office.write("hr/jane.md", EDITED)


@way("jane.md")
def her_file_is_a_source_itself(office: Office) -> None:
    office.sources = [office.hr / "tom.md", office.hr / "jane.md", office.hr / "rules.md"]
    office.write("hr/jane.md", EDITED)


@way()
def the_source_belongs_to_a_tenant(office: Office) -> None:
    office.sources = [{"path": office.hr, "tenant": "acme", "access": ["staff"], "metadata": {"year": 2026}}]


@way()
def chunks_are_smaller(office: Office) -> None:
    office.settings = {"chunk_tokens": 30}


@way()
def the_index_is_of_another_kind(office: Office) -> None:
    office.settings = {"milvus": {"index": "flat"}}


@way()
def passages_have_a_prefix(office: Office) -> None:
    office.settings = {"passage_prefix": "passage: "}


@way()
def another_collection_of_the_project(office: Office) -> None:
    office.collection = "other-collection"


@way()
def another_collection_and_she_is_edited(office: Office) -> None:
    office.collection = "other-collection"
    office.write("hr/jane.md", EDITED)


# The file


@way()
def she_is_edited(office: Office) -> None:
    office.write("hr/jane.md", EDITED)


@way()
def she_is_written_anew(office: Office) -> None:
    (office.hr / "jane.md").unlink()
    office.index()
    office.write("hr/jane.md", JANE)


@way("jd.md")
def the_file_is_renamed(office: Office) -> None:
    office.move("hr/jd.md")


@way("archive/2026/jane.md")
def the_file_is_moved(office: Office) -> None:
    office.move("hr/archive/2026/jane.md")


@way("copy.md")
def the_file_is_copied(office: Office) -> None:
    shutil.copy(office.hr / "jane.md", office.hr / "copy.md")


@way("elsewhere/jane.md")
def the_file_is_moved_to_another_source(office: Office) -> None:
    office.move("elsewhere/jane.md")
    office.sources = [office.hr, office.root / "elsewhere"]


@way("kept.md")
def the_file_is_moved_and_then_edited(office: Office) -> None:
    path = office.move("hr/kept.md")
    office.index()
    path.write_text(EDITED)


@way("kept.md")
def the_file_is_edited_and_then_moved(office: Office) -> None:
    longer = EDITED + "\nShe wrote this herself, and nobody else has seen a word of it since she left the company.\n"
    office.write("hr/jane.md", longer)
    office.index()
    office.move("hr/kept.md")


@way("link.md")
def a_link_leads_to_a_copy(office: Office) -> None:
    office.move("elsewhere/jane.md")
    (office.hr / "link.md").symlink_to(office.root / "elsewhere/jane.md")


@way("jane.md")
def the_folder_is_reached_by_a_link(office: Office) -> None:
    (office.root / "current").symlink_to(office.hr)
    office.write("hr/jane.md", EDITED)
    office.sources = [office.root / "current"]


@way("jane.txt")
def she_is_plain_text(office: Office) -> None:
    office.move("hr/jane.txt")


@way("JANE.MARKDOWN")
def the_suffix_has_capitals(office: Office) -> None:
    office.move("hr/JANE.MARKDOWN")


# Bytes and characters


@way("export.md")
def line_ends_are_of_windows(office: Office) -> None:
    office.move("hr/export.md").write_bytes(JANE.replace("\n", "\r\n").encode())


@way("export.md")
def line_ends_are_of_an_old_mac(office: Office) -> None:
    office.move("hr/export.md").write_bytes(JANE.replace("\n", "\r").encode())


@way("export.md")
def it_begins_with_a_mark_of_its_encoding(office: Office) -> None:
    office.move("hr/export.md").write_text(JANE, encoding="utf-8-sig")


@way("export.md")
def accents_are_characters_of_their_own(office: Office) -> None:
    office.move("hr/export.md").write_text(unicodedata.normalize("NFD", JANE))


@way("export.md")
def quotes_spaces_and_hyphens_are_typographic(office: Office) -> None:
    text = JANE.replace(" a year", "\u00a0a year").replace("earns", "\u200bearns").replace("euros", "eu\xadros")
    office.move("hr/export.md").write_text(text)


@way("export.txt")
def lines_are_wrapped_elsewhere(office: Office) -> None:
    office.move("hr/export.txt").write_text(JANE.replace(" earns ", "\nearns ").replace("\n\n", "\n\n\n") + "   \n\n")


@way("export.md")
def marks_of_markdown_are_others(office: Office) -> None:
    text = JANE.replace("# Jane Doe", "Jane Doe\n========").replace("90,000", "**90,000**").replace("- She", "* She")
    office.move("hr/export.md").write_text(text)


# Formats


@way("jane.html")
def she_is_a_page(office: Office) -> None:
    office.move("hr/jane.html").write_text(
        "<html><head><title>Jane</title></head><body><h1>Jane Doe</h1><p>Jane Doe from W&uuml;rzburg earns "
        "<b>90,000</b> euros a year.</p><ul><li>She is on leave until May.</li></ul></body></html>"
    )


@way("jane.docx")
def she_is_a_word_document(office: Office) -> None:
    from docx import Document

    document = Document()
    document.add_heading("Jane Doe", 1)
    document.add_paragraph("Jane Doe from Würzburg earns 90,000 euros a year.")
    document.add_paragraph("She is on leave until May.", style="List Bullet")
    document.save(str(office.move("hr/jane.docx")))


@way("rows.jsonl#7")
def she_is_a_row(office: Office) -> None:
    (office.hr / "jane.md").unlink()
    office.write("hr/rows.jsonl", json.dumps({"id": 7, "title": "Jane Doe", "text": JANE.partition("\n\n")[2]}) + "\n")


@way("shop/1")
def she_is_a_row_of_a_table(office: Office) -> None:
    (office.hr / "jane.md").unlink()
    execute(office, "CREATE TABLE person (id INTEGER, name TEXT, body TEXT)")
    execute(office, "INSERT INTO person VALUES (1, 'Jane Doe', ?)", JANE.partition("\n\n")[2])
    office.sources = [office.hr, table(office)]


@way("bucket/jane.md")
def she_is_in_an_object_store(office: Office) -> None:
    import fsspec

    (office.hr / "jane.md").unlink()
    with fsspec.open(f"memory://{office.collection}/bucket/jane.md", "wb") as file:
        file.write(JANE.encode())
    office.sources = [office.hr, f"memory://{office.collection}/bucket"]


@way("site/people/jd.txt")
def she_is_on_a_site(office: Office) -> None:
    office.move("site/people/jd.txt")
    url = serve_folder(office.root / "site", ["people/jd.txt"])
    office.sources = [office.hr, {"sitemap": f"{url}/sitemap.xml", "name": "site", "pages_per_s": 100}]


# The collection, the storage and the machine


@way()
def the_collection_is_dropped(office: Office) -> None:
    with closing(Store(office.uri)) as store:
        store.drop(office.collection)


@way()
def the_collection_is_restored_from_a_backup(office: Office) -> None:
    """Her rows are there again, as an index without the list would have written them."""
    restored = RetrievalConfig.model_validate({"sources": office.sources})
    assert index_documents(restored, office.collection, office.uri, lambda _: None).added == 1
    assert any(MARK in text for text in office.texts().values())


@way(None)
def the_collection_is_restored_and_her_file_is_gone(office: Office) -> None:
    the_collection_is_restored_from_a_backup(office)
    (office.hr / "jane.md").unlink()


@way()
def an_unfinished_collection_holds_her(office: Office) -> None:
    office.settings = {"chunk_tokens": 40}
    config = RetrievalConfig.model_validate({"sources": office.sources, **office.settings})

    class Died(Exception):
        pass

    def die(line: str) -> None:
        raise Died

    with pytest.raises(Died):
        index_documents(config, office.collection, office.uri, die)


@way()
def the_project_is_moved(office: Office) -> None:
    moved = office.root / "moved"
    moved.mkdir()
    office.sources = [shutil.move(office.hr, moved / "hr")]


@way()
def the_project_is_moved_and_she_is_edited(office: Office) -> None:
    the_project_is_moved(office)
    office.write("moved/hr/jane.md", EDITED)


@way()
def another_project_has_the_same_storage(office: Office) -> None:
    office.collection = "other-collection"
    office.sources = [shutil.copytree(office.hr, office.root / "other" / "docs")]


@way()
def an_earlier_version_wrote_the_list(office: Office) -> None:
    (office.root / "storage" / office.record.key).write_text('{"forgotten": ["jane.md"]}')


@way("hr/jane.md")
def an_earlier_version_wrote_the_list_and_a_source_is_added(office: Office) -> None:
    an_earlier_version_wrote_the_list(office)
    add_source(office)


@way("people/jane.md")
def an_earlier_version_wrote_the_list_and_it_was_met_once(office: Office) -> None:
    an_earlier_version_wrote_the_list(office)
    office.index()
    add_source(office, name="people")


def execute(office: Office, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(office.root / "shop.db")) as connection:
        connection.execute(statement, values)
        connection.commit()


def table(office: Office, **values: Any) -> dict[str, Any]:
    sql = {"url": f"sqlite:///{office.root}/shop.db", "query": "SELECT * FROM person", "id": "id", "text": "body"}
    return {"sql": {**sql, "title": "name", **values}}
