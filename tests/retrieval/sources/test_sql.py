"""SQL databases as sources, with real SQLite files."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from retrieval.filters.rights import Attributes
from retrieval.sources.config import SqlSource
from retrieval.sources.document import UNKNOWN, Document, SourceUnavailable, Unreadable
from retrieval.sources.rows import row_attributes, row_text
from retrieval.sources.sources import all_documents, check_sources
from retrieval.sources.sql import _Texts
from retrieval.sources.sql_query import as_subquery

ARTICLES = """
CREATE TABLE article (id, heading, body, note, changed, owner, labels, year);
INSERT INTO article VALUES (1, 'Iron', 'It rusts.', NULL, '2024-01-01', 'acme', 'hr, it', 2024);
INSERT INTO article VALUES (2, 'Gold', 'It shines.', 'Always.', '2024-01-02', 'blue', '["it"]', NULL);
INSERT INTO article VALUES (3, 'Tin', 'It bends.', '', '2024-01-03', 'acme', '', 2025);
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "help.db"
    run(path, ARTICLES)
    return path


def run(path: Path, script: str) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()


def source(path: Path, query: str = "SELECT * FROM article", **settings: Any) -> SqlSource:
    sql = {"url": f"sqlite:///{path}", "query": query, "id": "id", "text": ["body"], **settings}
    return SqlSource.model_validate({"sql": sql})


def checked(*sources: SqlSource) -> list[Document]:
    check_sources(sources)
    return list(all_documents(sources))


def versions(source: SqlSource) -> dict[str, str]:
    return {document.source: document.version() for document in all_documents([source])}


def test_each_row_is_a_document(database: Path) -> None:
    settings: dict[str, Any] = {"text": ["body", "note"], "title": "heading", "tenant": "owner", "access": "labels"}
    found = list(all_documents([articles := source(database, **settings, metadata=["year"])]))
    check_sources([articles])
    assert [document.source for document in found] == ["help/1", "help/2", "help/3"]
    assert [document.attributes for document in found] == [
        Attributes("acme", ("hr", "it"), {"year": 2024}),
        Attributes("blue", ("it",)),
        Attributes("acme", (), {"year": 2025}),
    ]
    with opened(articles) as rows:
        assert [row.read() for row in rows] == [
            "# Iron\n\nIt rusts.",
            "# Gold\n\nIt shines.\n\nAlways.",
            "# Tin\n\nIt bends.",
        ]


@contextmanager
def opened(*sources: SqlSource) -> Iterator[Iterator[Document]]:
    """Rows that are read while they are listed, as the index does it."""
    rows = all_documents(sources)
    yield rows
    assert next(rows, None) is None


@pytest.mark.parametrize("settings", [{}, {"updated_at": "changed"}], ids=["by text", "by date"])
def test_rows_are_plain_text_unless_their_source_says_markdown(database: Path, settings: dict[str, Any]) -> None:
    plain, titled = source(database, **settings), source(database, **settings, title="heading")
    written = source(database, **settings, title="heading", markup="markdown")
    assert [{row.markup for row in all_documents([each])} for each in (plain, titled, written)] == [
        {"plain"}, {"titled"}, {"markdown"},
    ]  # fmt: skip
    assert not set(versions(written).values()) & set(versions(titled).values()), "its chunks are others"


def test_a_row_without_updated_at_has_the_version_of_its_text(database: Path) -> None:
    before = versions(plain := source(database))
    run(
        database, "UPDATE article SET body = 'It rusts slowly.' WHERE id = 1; UPDATE article SET year = 1 WHERE id = 2;"
    )
    after = versions(plain)
    assert {name for name in before if before[name] != after[name]} == {"help/1"}


def test_updated_at_alone_decides_where_it_is_named(database: Path) -> None:
    before = versions(dated := source(database, updated_at="changed"))
    run(database, "UPDATE article SET body = 'New.' WHERE id = 1; UPDATE article SET changed = 'now' WHERE id = 2;")
    after = versions(dated)
    assert {name for name in before if before[name] != after[name]} == {"help/2"}
    other = versions(source(database, updated_at="changed", text=["body", "note"]))
    assert not set(other.values()) & set(after.values()), "other columns are another text"


def test_only_rows_that_are_asked_for_are_read(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(
        database,
        "".join(f"INSERT INTO article (id, body, changed) VALUES ({n}, 'Text {n}.', {n});" for n in range(10, 500)),
    )
    read: list[list[object]] = []
    fetched = _Texts._fetched

    def noted(self: Any, keys: list[object]) -> Any:
        read.append(keys)
        return fetched(self, keys)

    monkeypatch.setattr(_Texts, "_fetched", noted)
    with opened(dated := source(database, updated_at="changed")) as rows:
        assert [row.read() for row in rows if row.source in ("help/20", "help/300")] == ["Text 20.", "Text 300."]
    assert read == [[20], [300]]
    read.clear()
    with opened(dated) as rows:
        assert sum(1 for row in rows if row.read()) == 493
    assert len(read) < 50, "one after the other is read in pages"


def test_the_query_is_taken_as_it_is_written(database: Path) -> None:
    query = """SELECT id, body || ' at 10:30 :id %s 100%' AS "the Text" FROM article WHERE body LIKE '%rusts%' ;"""
    with opened(source(database, query, text="the Text")) as rows:
        assert [row.read() for row in rows] == ["It rusts. at 10:30 :id %s 100%"]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id, body FROM article -- all of them", "SELECT id, body FROM article; -- all; of them\n",
        "/* all; of them */ SELECT id, body FROM article /* ; */ ; ; /* end */",
        "\n-- which\nSELECT id, body FROM article\n;\n",
        "WITH a AS (SELECT * FROM article) SELECT id, body FROM a;", "(SELECT id, body FROM article)",
        "SELECT id, body FROM article WHERE body <> ';' AND body <> '-- no comment' -- but this",
        "SELECT id, body FROM article WHERE body <> 'it''s; -- no' ORDER BY id LIMIT 10;",
        'SELECT "id", [body] FROM `article`', "select id, body from article union all select 4, 'x' where 1 = 0 --",
    ],
)  # fmt: skip
def test_what_stands_around_a_query_is_cut_off(database: Path, query: str) -> None:
    with opened(articles := source(database, query)) as rows:
        check_sources([articles])
        assert [row.read() for row in rows] == ["It rusts.", "It shines.", "It bends."]


@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("-- nothing", "is empty"), (" ; ", "is empty"), ("DELETE FROM article", "begins with DELETE"),
        ("SELECT id, body FROM article; DROP TABLE article", "has several statements"),
        ("PRAGMA table_info(article)", "begins with PRAGMA"),
        ("EXPLAIN SELECT 1", "begins with EXPLAIN"), ("{}", "begins with {"),
    ],
)  # fmt: skip
def test_a_query_that_is_no_subquery_says_so(database: Path, query: str, seen: str) -> None:
    with pytest.raises(TandemError, match=seen) as caught:
        checked(source(database, query))
    assert "used as a subquery" in caught.value.accepted
    assert len(checked(source(database))) == 3, "nothing was run"


@pytest.mark.parametrize(
    ("query", "dialect", "kept"),
    [
        ("SELECT $$;--$$ AS a; -- x", "postgresql", "SELECT $$;--$$ AS a"),
        ("SELECT $q$it's;$q$ || ARRAY['a]']; -- x", "postgresql", "SELECT $q$it's;$q$ || ARRAY['a]']"),
        ("SELECT '\\';--x' # it's\n; # end", "mysql", "SELECT '\\';--x'"),
        ("SELECT 5--1 AS id", "mysql", "SELECT 5--1 AS id"),
        ("SELECT [a;b] FROM t;", "mssql", "SELECT [a;b] FROM t"),
        ("VALUES (1, ';');", "postgresql", "VALUES (1, ';')"),
        ("SELECT 'open", "sqlite", "SELECT 'open"),
    ],
)
def test_texts_and_names_of_other_databases_are_known(query: str, dialect: str, kept: str) -> None:
    assert as_subquery(query, dialect, "title") == kept


def test_colons_and_backslashes_stay(database: Path) -> None:
    text = r"a:b \:c \\:d ::e :$f 10:30:59 x\y :g:h {:i}"
    with opened(source(database, f"SELECT 1 AS id, '{text}' AS body")) as rows:
        assert [row.read() for row in rows] == [text]


def test_odd_columns_and_ids(database: Path) -> None:
    run(
        database,
        r"""CREATE TABLE odd ("Order Nr", "SELECT", "a.b", "Text %");
        INSERT INTO odd VALUES (1, 'x', 'one', 'A'), ('1 ', 'x', 'two', 'B'), (1.5, 'x', 'three', 'C'),
            (x'00ff', 'x', 'four', 'D'), ('a''b"c\%:d', 'x', 'five', 'E'), (9223372036854775807, 'x', 'six', 'F'),
            ('ü/#?', 'x', 'seven', 'G');""",
    )
    settings: dict[str, Any] = {"id": "Order Nr", "title": "Text %", "text": ["a.b", "SELECT"]}
    with opened(articles := source(database, "SELECT * FROM odd", **settings)) as rows:
        check_sources([articles])
        texts = {row.source: row.read() for row in rows}
    assert list(texts.values()) == [
        f"# {title}\n\n{word}\n\nx"
        for title, word in zip("ABCDEFG", ["one", "two", "three", "four", "five", "six", "seven"], strict=True)
    ]
    assert list(texts) == [
        f"help/{key}" for key in ("1", "1 ", "1.5", r"b'\x00\xff'", r"""a'b"c\%:d""", 2**63 - 1, "ü/#?")
    ]


def test_ids_that_are_equal_and_not_the_same_are_said(database: Path) -> None:
    run(database, "CREATE TABLE equal (id, body); INSERT INTO equal VALUES (1, 'one'), (1.0, 'another'), (2, 'two')")
    with opened(source(database, "SELECT * FROM equal")) as rows:
        for _ in range(2):
            with pytest.raises(Unreadable, match="equals another row's"):
                next(rows).read()
        assert next(rows).read() == "two"


def test_a_row_of_which_nobody_knows_whom_it_is_for_is_not_indexed(database: Path) -> None:
    run(database, "UPDATE article SET owner = NULL WHERE id = 1; UPDATE article SET owner = ' ' WHERE id = 2;")
    rows = checked(source(database, tenant="owner"))
    assert [row.attributes for row in rows] == [UNKNOWN, UNKNOWN, Attributes("acme")]
    with pytest.raises(Unreadable, match="has no owner"):
        rows[0].version()
    run(database, "UPDATE article SET labels = NULL WHERE id = 1; UPDATE article SET labels = '[\"it\"' WHERE id = 2;")
    run(database, "UPDATE article SET labels = 'a,,b' WHERE id = 3;")
    rows = checked(source(database, access="labels"))
    assert [row.attributes for row in rows] == [UNKNOWN] * 3
    for row, reason in zip(rows, ["has no labels", "begin like a JSON list", "label"], strict=True):
        with pytest.raises(Unreadable, match=reason):
            row.read()


@pytest.mark.parametrize(
    ("query", "settings", "seen"),
    [
        ("SELECT * FROM missing", {}, "no such table: missing"),
        ("SELECT FROM", {}, "syntax error"),
        ("SELECT * FROM article", {"title": "Heading2"}, "has no column Heading2. Its columns: id, heading"),
        ("SELECT NULL AS id, body FROM article", {}, "has a row whose id is None"),
        ("SELECT 1 AS id, body FROM article", {}, "has two rows whose id is 1"),
        ("SELECT *, json(body) AS j FROM article WHERE id < 2 OR json(body) IS NULL", {}, "malformed JSON"),
        ("SELECT * FROM article", {"url": "sqlite:////nowhere/x.db"}, "there is no file /nowhere/x.db"),
        ("SELECT * FROM article", {"url": "nosuch://u:secret@h/x"}, "nosuch"),
        ("SELECT * FROM article", {"url": "secret"}, "Could not parse"),
    ],
)
def test_what_is_wrong_with_a_database_is_said(database: Path, query: str, settings: dict[str, str], seen: str) -> None:
    with pytest.raises(TandemError) as caught:
        checked(source(database, query, **settings))
    assert seen in str(caught.value) and "secret" not in str(caught.value)


def test_a_query_that_fails_half_way_lists_nothing(database: Path) -> None:
    run(database, "".join(f"INSERT INTO article (id, body) VALUES ({n}, '{{}}');" for n in range(10, 3000)))
    query = (
        "SELECT id, body, CASE WHEN id < 10 THEN '' WHEN id > 2500 THEN json('{') ELSE json(body) END AS b FROM article"
    )
    with pytest.raises(SourceUnavailable, match="malformed JSON"):
        next(all_documents([source(database, query, text="b")]))


def test_a_row_that_has_gone_since_it_was_listed_is_said(database: Path) -> None:
    rows = all_documents([source(database)])
    first = next(rows)
    run(database, "DELETE FROM article WHERE id = 1")
    with pytest.raises(Unreadable, match="no longer"):
        first.read()


def test_columns_that_are_no_text_are_read_or_said(database: Path) -> None:
    run(
        database,
        "UPDATE article SET body = CAST('é' AS BLOB) WHERE id = 1; UPDATE article SET body = 3.5 WHERE id = 2;",
    )
    run(database, "UPDATE article SET body = x'ff' WHERE id = 3;")
    with opened(source(database, updated_at="changed")) as rows:
        assert [next(rows).read(), next(rows).read()] == ["é", "3.5"]
        with pytest.raises(Unreadable, match="not UTF-8"):
            next(rows).read()


def test_the_password_is_never_shown() -> None:
    url = "postgresql+psycopg2://user:secret@127.0.0.1:9/x"
    sql = {"url": url, "query": "SELECT 1", "id": "id", "text": "t"}
    configured = SqlSource.model_validate({"sql": sql})
    assert configured.title == "x"
    assert "secret" not in f"{configured!r} {configured.model_dump_json()}"
    with pytest.raises(TandemError) as caught:
        check_sources([configured])
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [{"text": []}, {"query": ""}, {"metadata": ["Year"]}, {"id": None}, {"colour": "red"}],
)
def test_nonsense_is_refused(database: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        source(database, **wrong)


def test_rights_are_said_once(database: Path) -> None:
    sql = {"url": "sqlite://", "query": "q", "id": "id", "text": "t", "tenant": "owner"}
    with pytest.raises(ValidationError, match="leave one of the two out"):
        SqlSource.model_validate({"sql": sql, "tenant": "acme"})


def test_values_of_any_type_are_text() -> None:
    row = {
        "day": date(2024, 5, 1), "moment": datetime(2024, 5, 1, 12, 30), "price": Decimal("1.50"),
        "bytes": "café".encode(),
        "view": memoryview(b"x"), "json": {"Größe": [1, None, "ä"]}, "list": ["a", 1], "flag": True, "none": None,
        "id": UUID(int=1), "float": 0.1,
    }  # fmt: skip
    assert row_text(row, None, list(row)).split("\n\n") == [
        "2024-05-01", "2024-05-01 12:30:00", "1.50", "café", "x", '{"Größe": [1, null, "ä"]}', '["a", 1]', "True",
        "00000000-0000-0000-0000-000000000001", "0.1",
    ]  # fmt: skip
    metadata = row_attributes(Attributes(), row, None, None, list(row)).metadata
    assert metadata == {
        "day": "2024-05-01", "moment": "2024-05-01T12:30:00", "price": 1.5, "bytes": "café", "view": "x",
        "json": '{"Größe": [1, null, "ä"]}', "list": '["a", 1]', "flag": True, "id": str(UUID(int=1)), "float": 0.1,
    }  # fmt: skip
