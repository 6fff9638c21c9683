"""The rows of a SQL query as documents.

First the whole query is listed, with only what tells its rows apart and who may read them: into a temporary file, since
a query may have any number of rows, and at once, so that no cursor stays open while documents are embedded. Then the
text of the rows that changed is read by their ids.

    with Listing() as listing:
        listing.add(Listed("7", 7, "a digest", Attributes()))
        for page in listing.pages(100): ...
"""

import json
import pickle
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.filters.rights import Attributes
from retrieval.sources.config import SqlQuery, SqlSource
from retrieval.sources.document import UNKNOWN, Document, Gone, Origin, SourceUnavailable, Unreadable, unreadable
from retrieval.sources.markup import Markup
from retrieval.sources.rows import row_attributes, row_name, row_text
from retrieval.sources.sql_query import as_subquery

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine, Subquery


_TABLE = "CREATE TABLE listed (name TEXT UNIQUE, key BLOB, version TEXT, attributes TEXT, reason TEXT)"


@dataclass(frozen=True)
class Listed:
    """A row of a query before its text is read."""

    name: str
    key: object
    """The id as the driver gave it, which is what it must get back."""
    version: str
    attributes: Attributes
    reason: str = ""
    """Why it cannot be indexed, or nothing."""


class Listing:
    """Rows in the order in which they were added. One writer."""

    def __init__(self) -> None:
        # An empty name is a private database in a temporary file, which SQLite removes itself.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._db.execute(_TABLE)
        self._db.execute("BEGIN")  # never committed: nothing of this outlives the process

    def __enter__(self) -> "Listing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._db.close()

    def add(self, row: Listed) -> bool:
        """False where a row of that name is there already."""
        attributes = [row.attributes.tenant, row.attributes.access, dict(row.attributes.metadata)]
        # Pickled for its type: an id may be a number, a text, a UUID.
        values = (row.name, pickle.dumps(row.key), row.version, json.dumps(attributes), row.reason)
        return self._db.execute("INSERT OR IGNORE INTO listed VALUES (?, ?, ?, ?, ?)", values).rowcount > 0

    def pages(self, size: int) -> Iterator[list[Listed]]:
        """The rows, `size` at a time."""
        last = 0
        while page := self._page(last, size):
            yield [row for _, row in page]
            last = page[-1][0]

    def _page(self, last: int, size: int) -> list[tuple[int, Listed]]:
        rows = self._db.execute("SELECT rowid, * FROM listed WHERE rowid > ? ORDER BY rowid LIMIT ?", (last, size))
        return [
            (number, Listed(name, pickle.loads(key), version, _attributes(attributes), reason))
            for number, name, key, version, attributes, reason in rows.fetchall()
        ]


def _attributes(kept: str) -> Attributes:
    tenant, access, metadata = json.loads(kept)
    return Attributes(tenant, tuple(access), metadata)


_SQL_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_NAME = r"(?:\w+|\"[^\"]+\"|`[^`]+`|\[[^\]]+\])"
_FROM = re.compile(rf"\bfrom\s+({_NAME}(?:\s*\.\s*{_NAME})*)", re.IGNORECASE)
LISTED_ROWS = 1000
READ_ROWS = 100
CONNECT_S = 10
_CONNECT_TIMEOUT = {"psycopg": "connect_timeout", "psycopg2": "connect_timeout", "pymysql": "connect_timeout"}


def sql_documents(source: SqlSource, prefix: str) -> Iterator[Document]:
    """Every row, in the order of the query.

    Raises:
        SourceUnavailable: the database cannot be reached, refuses the query or fails half-way.
        TandemError: an id is NULL or stands in two rows.
    """
    with _engine(source) as engine, Listing() as listing:
        table = _table(source.sql, engine.url)
        _list(source, engine, listing)
        for page in listing.pages(READ_ROWS):
            texts = _Texts(source, engine, [row.key for row in page])
            for position, row in enumerate(page):
                name, origin = prefix + row.name, Origin(table, f"#{row.name}")
                if row.reason:
                    yield unreadable(name, row.reason, row.attributes, origin=origin)
                else:
                    version, read = partial(str, row.version), partial(texts.read, position)
                    yield Document(name, row.attributes, version, read, markup=_markup(source.sql), origin=origin)


def check_sql_source(source: SqlSource) -> None:
    """Connect, and look at the columns of the query.

    Raises:
        TandemError: the URL, its driver, the database, the query or a column is wrong.
    """
    from sqlalchemy import select, text

    with _engine(source) as engine, _explained(source), engine.connect() as connection:
        columns = list(connection.execute(select(text("*")).select_from(_rows(source)).limit(0)).keys())
    if missing := [name for name in source.sql.columns if name not in columns]:
        raise TandemError(
            f"The query of the source {source.title} has no column {missing[0]}.",
            f"Its columns: {', '.join(columns)}.",
            "Name one of these, or give the column that name in the query with AS.",
        )


def _list(source: SqlSource, engine: "Engine", listing: Listing) -> None:
    from sqlalchemy import select

    sql, rows = source.sql, _rows(source)
    telling = [sql.updated_at] if sql.updated_at else [sql.title, *sql.text]
    names = dict.fromkeys(filter(None, [sql.id, *telling, sql.tenant, sql.access, *sql.metadata]))
    with _explained(source), engine.connect().execution_options(yield_per=LISTED_ROWS) as connection:
        for row in connection.execute(select(*(rows.c[name] for name in names))).mappings():
            _note(source, row, listing)


def _note(source: SqlSource, row: Mapping[Any, Any], listing: Listing) -> None:
    key = row[source.sql.id]
    if key is None or str(key) == "":
        raise TandemError(
            f"The query of the source {source.title} has a row whose {source.sql.id} is {key!r}.",
            "Each row has an id, which is part of the document's name.",
            "Leave such rows out in the query, or name another column as `id`.",
        )
    if isinstance(key, list | dict | set):
        raise TandemError(
            f"The query of the source {source.title} has a row whose {source.sql.id} is {str(key)[:100]}.",
            "An id is a text, a number, a date, a UUID or bytes, and no list and no JSON.",
            "Name another column as `id`, or make a text of this one in the query with CAST.",
        )
    if not listing.add(_listed(source, row, key)):
        raise TandemError(
            f"The query of the source {source.title} has two rows whose {source.sql.id} is {key!r}.",
            "Each id once.",
            "Name a column without repetitions as `id`, or group the rows in the query.",
        )


def _listed(source: SqlSource, row: Mapping[Any, Any], key: object) -> Listed:
    try:
        attributes = row_attributes(source.attributes, row, source.sql.tenant, source.sql.access, source.sql.metadata)
    except Unreadable as error:
        return Listed(row_name(key), key, "", UNKNOWN, str(error))
    try:
        return Listed(row_name(key), key, _version(source.sql, row), attributes)
    except Unreadable as error:
        return Listed(row_name(key), key, "", attributes, str(error))


def _markup(sql: SqlQuery) -> Markup:
    return sql.markup if sql.markup == "markdown" else "titled" if sql.title else "plain"


def _version(sql: SqlQuery, row: Mapping[Any, Any]) -> str:
    if not sql.updated_at:
        # Of a text in another markup other chunks are made.
        text = row_text(row, sql.title, sql.text)
        return digest_json(text if sql.markup == "plain" else [text, sql.markup])
    if row[sql.updated_at] is None:
        raise Unreadable(f"has no {sql.updated_at}")
    # Another query or other columns give another text at the same time.
    markup = [] if sql.markup == "plain" else [sql.markup]
    return digest_json([sql.query, sql.title, sql.text, str(row[sql.updated_at]), *markup])


class _Texts:
    """The texts of a page of rows. Where one row after the other is asked for, the next ones are read with it."""

    def __init__(self, source: SqlSource, engine: "Engine", keys: list[object]) -> None:
        self.source, self.engine, self.keys = source, engine, keys
        self.read_ahead: dict[object, str | Unreadable] = {}
        self.last, self.window = -1, 1

    def read(self, position: int) -> str:
        """The text of one row. Raises Gone where it was deleted since it was listed, and Unreadable."""
        key = self.keys[position]
        if key not in self.read_ahead:
            self.window = self.window * 2 if position == self.last + 1 else 1
            self.read_ahead = self._fetched(self.keys[position : position + self.window])
        self.last = position
        text = self.read_ahead.pop(key, Gone("is no longer in the query's result"))
        if isinstance(text, Unreadable):
            raise text
        return text

    def _fetched(self, keys: list[object]) -> dict[object, str | Unreadable]:
        from sqlalchemy import BigInteger, bindparam, select
        from sqlalchemy.types import NullType

        sql, rows = self.source.sql, _rows(self.source)
        # Otherwise the first key of a page decides how wide the others may be, and of what type.
        kind = BigInteger() if all(type(key) is int for key in keys) else NullType()
        condition = rows.c[sql.id].in_(bindparam("keys", keys, expanding=True, type_=kind))
        names = dict.fromkeys(filter(None, [sql.id, sql.title, *sql.text]))
        with _explained(self.source), self.engine.connect() as connection:
            fetched = connection.execute(select(*(rows.c[name] for name in names)).where(condition)).mappings().all()
        texts: dict[object, str | Unreadable] = {}
        for row in fetched:
            key = row[sql.id]
            # 1 and 1.0 are two names and one number: no row's text may be taken for the other's.
            texts[key] = Unreadable("has an id that equals another row's") if key in texts else self._text(row)
        return texts

    def _text(self, row: Mapping[Any, Any]) -> str | Unreadable:
        try:
            return row_text(row, self.source.sql.title, self.source.sql.text)
        except Unreadable as error:
            return error


def _table(sql: SqlQuery, url: "URL") -> str:
    """What the rows are rows of, without user and password: the database, the query's first table and the id's column.

    A query that selects from no table by name is known by its text.
    """
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    database = str(Path(url.database or "").absolute()) if is_file else url.database or ""
    address = f"{url.get_backend_name()}://{url.host or ''}{f':{url.port}' if url.port else ''}/{database}"
    match = _FROM.search(_SQL_COMMENT.sub(" ", sql.query))
    table = re.sub(r"[\s\"`\[\]]", "", match[1]).lower() if match else digest_json(sql.query)[:16]
    return f"{address}#{table}.{sql.id.lower()}"


def _rows(source: SqlSource) -> "Subquery":
    from sqlalchemy import column, text

    dialect = re.split(r"[+:]", source.sql.url.get_secret_value())[0]
    query = as_subquery(source.sql.query, dialect, source.title)
    # A colon in the query is the query's own: there are no parameters. A backslash before it would be taken away.
    query = re.sub(r"(?<!:):(?=[\w$])", r"\\:", query)
    return text(query).columns(*(column(name) for name in source.sql.columns)).subquery("tandem_rows")


@contextmanager
def _engine(source: SqlSource) -> "Iterator[Engine]":
    from sqlalchemy import create_engine
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = _url(source)
        option = _CONNECT_TIMEOUT.get(url.get_driver_name())
        engine = create_engine(url, hide_parameters=True, connect_args={option: CONNECT_S} if option else {})
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError, ValueError) as error:
        raise TandemError(
            f"The database of the source {source.title} cannot be used: {_reason(error, source)}.",
            "A URL as SQLAlchemy writes it, such as postgresql+psycopg://user:${DB_PASSWORD}@host/database, "
            "and the driver that it names.",
            "Correct sql.url, or install the driver (for PostgreSQL: `pip install psycopg[binary]`).",
        ) from None
    try:
        yield engine
    finally:
        engine.dispose()


def _url(source: SqlSource) -> "URL":
    from sqlalchemy import make_url

    url = make_url(source.sql.url.get_secret_value())
    # SQLite would make a missing file.
    file = url.database if url.get_backend_name() == "sqlite" else None
    if file and file != ":memory:" and not file.startswith("file:") and not Path(file).is_file():
        raise ValueError(f"there is no file {file}")
    return url


@contextmanager
def _explained(source: SqlSource) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise SourceUnavailable(
            f"The database of the source {source.title} reports: {_reason(error, source)}.",
            "A database that answers, and a query that can stand as a subquery.",
            "Try the query with the same user; what was indexed of it stays.",
        ) from None


def _reason(error: Exception, source: SqlSource) -> str:
    """The driver's own words in one line, without the password."""
    reason = " ".join(str(getattr(error, "orig", None) or error).split()).rstrip(".")[:300]
    return reason.replace(password, "***") if (password := _password(source)) else reason


def _password(source: SqlSource) -> str | None:
    match = re.search(r"://[^:/@]*:(.*)@", source.sql.url.get_secret_value())
    return match[1] if match else None
