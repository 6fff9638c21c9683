"""A query as it is written -> one that can be a subquery: without the semicolon and the comments at its end.

as_subquery("SELECT 1 AS id; -- all of them") == "SELECT 1 AS id"
"""

import re

from cluster.errors import TandemError

_COMMENT = r"--[^\n]*|/\*(?:[^*]|\*(?!/))*\*/"
_MYSQL = ("mysql", "mariadb")
_QUOTED = r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`"""
_BRACKETS = r"|\[[^\]\n]*\]"  # names in SQLite and SQL Server; arrays elsewhere
_DOLLARS = r"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$"  # texts in PostgreSQL
# MySQL has comments with # and escapes in texts, and needs a space after --.
_MYSQL_COMMENT = r"--(?=\s|$)[^\n]*|\#[^\n]*|/\*(?!!)(?:[^*]|\*(?!/))*\*/"
_MYSQL_QUOTED = r"""'(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|`[^`]*`"""
_READS = ("select", "with", "values", "table", "from", "(")


def as_subquery(query: str, dialect: str, title: str) -> str:
    """The query without comments around it and without the semicolon at its end.

    Args:
        dialect: the database, as SQLAlchemy names it.
        title: of the source, for errors.

    Raises:
        TandemError: it is empty, is several statements, or is no query that reads.
    """
    start = end = semicolon = None
    for part in _parts(dialect).finditer(query):
        if part["comment"] or part[0].isspace():
            continue
        if semicolon is not None and part[0] != ";":
            raise _refused(title, "has several statements")
        if part[0] == ";":
            semicolon = part.start()
            continue
        start = part.start() if start is None else start
        end = part.end()
    if start is None:
        raise _refused(title, "is empty")
    statement = query[start:end]
    first = re.match(r"\w+|.", statement, re.S)
    if first is None or first[0].lower() not in _READS:
        raise _refused(title, f"begins with {first[0][:40] if first else ''}")
    return statement


def _parts(dialect: str) -> re.Pattern[str]:
    comment, quoted = _COMMENT, _QUOTED + (_BRACKETS if dialect in ("sqlite", "mssql") else _DOLLARS)
    if dialect in _MYSQL:
        comment, quoted = _MYSQL_COMMENT, _MYSQL_QUOTED
    return re.compile(rf"(?P<comment>{comment})|{quoted}|\s+|[\w.]+|.", re.S)


def _refused(title: str, what: str) -> TandemError:
    return TandemError(
        f"The query of the source {title} {what}.",
        "One SELECT, which may begin with WITH. It is used as a subquery: ids are listed first, texts are read by id.",
        "Correct sql.query. Make a view in the database of what cannot be written so.",
    )
