"""The items of `retrieval.sources`: what kind each one is, and what the documents in it carry.

The kind shows in which key is there: `path` (a folder, a file, or the URL of an object store), `sql` or `sitemap`.
"""

import codecs
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PrivateAttr,
    SecretStr,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_validator,
)

from cluster.config import LocalPath, Section
from cluster.errors import TandemError
from retrieval.filters.filters import METADATA_NAME
from retrieval.filters.rights import Attributes

SourceAttributes = TypeVar("SourceAttributes")
_NO_ENCODINGS = frozenset({"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined", "utf-7"})
_NAME = re.compile(r"[^/#\x00-\x1f\x7f]{1,100}")


class Source(Section):
    """What every kind of source has."""

    name: str | None = None
    """What the names of its documents begin with where there are several sources, and always with `sql`. Default: the
    last part of the path, the name of the database, or the site."""

    tenant: str | None = None
    """Whom the documents belong to. Only callers of this tenant find them; without one they are for all tenants."""

    access: tuple[str, ...] = ()
    """Labels, up to 8. Only callers who hold at least one of them find the documents; without labels everybody in the
    tenant does."""

    metadata: dict[str, StrictBool | StrictInt | StrictFloat | StrictStr] = Field(default_factory=dict)
    """Names (a-z, 0-9, _) and values (text, numbers, true or false) that searches can be filtered by."""

    @property
    def attributes(self) -> Attributes:
        """What a row of one of its documents carries."""
        return Attributes(self.tenant or "", self.access, self.metadata)

    @field_validator("name")
    @classmethod
    def _usable_name(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError("a name has 1 to 100 characters, none of them / or #")
        return name

    @field_validator("tenant")
    @classmethod
    def _kept_tenant(cls, tenant: str | None) -> str | None:
        if tenant == "":
            raise ValueError("a tenant has a name; leave the key out where the documents are for all tenants")
        return _kept(tenant, lambda: Attributes(tenant=tenant or ""))

    @field_validator("access")
    @classmethod
    def _kept_labels(cls, access: tuple[str, ...]) -> tuple[str, ...]:
        return _kept(access, lambda: Attributes(access=access))

    @field_validator("metadata")
    @classmethod
    def _kept_metadata(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        return _kept(metadata, lambda: Attributes(metadata=metadata))


class FileSource(Source):
    """A source of files."""

    encoding: str | None = None
    """The encoding of texts and tables (CSV) that are not UTF-8 and do not say it themselves, such as cp1252. Without
    it they are refused: an encoding is never guessed."""

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        if encoding is not None and not _is_encoding(encoding):
            raise ValueError(f"{encoding!r} is no encoding of texts that Python knows, such as cp1252 or shift_jis")
        return encoding


class FolderSource(FileSource):
    """A folder or a single file on this machine."""

    path: LocalPath
    """The folder or file, relative to the project file; or a URL such as s3://bucket/folder."""

    _apart: tuple[Path, ...] = PrivateAttr(())

    @property
    def title(self) -> str:
        return self.name or self.path.name

    @property
    def apart(self) -> tuple[Path, ...]:
        """What lies in the folder and is no document: the project file and the project's storage."""
        return self._apart

    def keep_apart(self, paths: tuple[Path, ...]) -> None:
        """Let no document of the source lie in one of these files and folders."""
        self._apart = paths


class PolledSource(Source):
    """A source that nothing tells of changes."""

    poll_s: Annotated[float, Field(ge=1, le=86_400)] = 60
    """Seconds after which `tandem index --watch` looks for changes again."""


class ObjectSource(FileSource, PolledSource):
    """A folder in an object store (s3, gs, az), or in another place that an fsspec protocol reaches."""

    path: str
    """A URL such as s3://bucket/folder. Credentials come from the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL,
    GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, ...), never from this file."""

    @property
    def title(self) -> str:
        parts = urlsplit(self.path)
        return self.name or PurePosixPath(parts.path).name or parts.netloc

    @field_validator("path")
    @classmethod
    def _plain_url(cls, path: str) -> str:
        parts = urlsplit(path)
        if parts.scheme in ("http", "https"):
            raise ValueError("pages of a site are named by `sitemap`; `path` is a folder or an object store")
        if "@" in parts.netloc and ":" in parts.netloc.rsplit("@", 1)[0]:
            raise ValueError("credentials come from the environment, not from the URL")
        if parts.scheme in ("file", "local") or "::" in path:
            raise ValueError("a folder on this machine is written without a scheme, and URLs are not chained")
        return path.rstrip("/")


class SqlQuery(Section):
    """A query of which each row is a document."""

    url: SecretStr
    """The database, as SQLAlchemy writes it: postgresql+psycopg://user:${DB_PASSWORD}@host/database. A password comes
    from the environment, and nothing of the URL is printed but masked."""

    query: Annotated[str, Field(min_length=1)]
    """A SELECT, which may begin with WITH. It is used as a subquery."""

    id: str
    """The column that names a document: unique, and never NULL."""

    text: Annotated[tuple[str, ...], Field(min_length=1)]
    """The columns that are read, one paragraph each."""

    title: str | None = None
    """The column that is the heading."""

    markup: Literal["plain", "markdown"] = "plain"
    """What the texts are written in. Lines that begin with # are headings in `markdown` only."""

    updated_at: str | None = None
    """The column that changes whenever the row does. With it only the rows that changed are read; without it all."""

    tenant: str | None = None
    """The column with the tenant. A row without a value is not indexed, since nobody knows whom it is for."""

    access: str | None = None
    """The column with the labels: separated by commas, or a JSON list. An empty text means no labels; a row with NULL
    is not indexed, since nobody knows whom it is for."""

    metadata: tuple[str, ...] = ()
    """Columns that searches can be filtered by. Their names are those of metadata: a-z, 0-9, _."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is named, once."""
        optional = (self.title, self.updated_at, self.tenant, self.access)
        return tuple(dict.fromkeys([self.id, *self.text, *filter(None, optional), *self.metadata]))

    @field_validator("text", mode="before")
    @classmethod
    def _one_column(cls, text: Any) -> Any:
        return (text,) if isinstance(text, str) else text

    @field_validator("metadata")
    @classmethod
    def _metadata_names(cls, metadata: tuple[str, ...]) -> tuple[str, ...]:
        for name in metadata:
            if not METADATA_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of metadata (a-z, 0-9, _); rename it in the query with AS")
        return metadata


class SqlSource(PolledSource):
    """The rows of a query."""

    sql: SqlQuery
    """The database, the query, and what its columns are."""

    @property
    def title(self) -> str:
        # What stands before the last @ may hold a password.
        _, _, database = re.split("://|@", self.sql.url.get_secret_value())[-1].partition("/")
        return self.name or PurePosixPath(database.partition("?")[0]).stem or "sql"

    @model_validator(mode="after")
    def _said_once(self) -> "SqlSource":
        both = [key for key in ("tenant", "access") if getattr(self, key) and getattr(self.sql, key)]
        if both:
            raise ValueError(f"{both[0]} is said for all rows and by a column as well; leave one of the two out")
        return self


class SitemapSource(PolledSource):
    """The pages of a site."""

    sitemap: str
    """The http(s) address of a sitemap: XML, a list of addresses, an index of sitemaps, or one of them as .gz. Only
    pages on its own host are read, with or without `www.`, and only those that its robots.txt allows."""

    pages_per_s: Annotated[float, Field(gt=0, le=100)] = 5
    """Most pages that are fetched in a second, one after the other. A longer Crawl-delay in robots.txt is kept."""

    @property
    def title(self) -> str:
        parts = urlsplit(self.sitemap)
        return self.name or f"{parts.scheme}://{parts.netloc}"

    @field_validator("sitemap")
    @classmethod
    def _web_address(cls, sitemap: str) -> str:
        parts = urlsplit(sitemap)
        # Also a port that is none is a ValueError.
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("a sitemap has an address that begins with http:// or https://")
        if "@" in parts.netloc:
            raise ValueError("an address with a user or a password is not fetched")
        return sitemap


class ParsingConfig(Section):
    """Limits of the processes in which documents are parsed. A document that goes past one is reported by name, and the
    others are indexed."""

    processes: Annotated[int | None, Field(ge=1, le=256)] = None
    """Number of documents that are parsed at once, each in a process of its own. Default: the cores of this machine.
    Plain text and source code are read in the process that indexes."""

    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 1800.0
    """Seconds after which a document is given up. 1,000 pages of a PDF take about 15 s, and OCR some seconds a page."""

    memory_gib: Annotated[float, Field(ge=0.25, le=1024)] = 4.0
    """Most memory of one of these processes, in GiB."""

    ocr: bool = True
    """Whether pages of PDFs without a text layer are read by OCR, where the extra `ocr` is installed."""


SourceConfig = FolderSource | ObjectSource | SqlSource | SitemapSource


def _kind(value: Any) -> str | None:
    """Which kind an item is; None where it has none or several of the keys."""
    if isinstance(value, Source):
        value = {key: getattr(value, key) for key in ("path", "sql", "sitemap") if hasattr(value, key)}
    keys = [key for key in ("path", "sql", "sitemap") if key in value] if isinstance(value, dict) else []
    if keys == ["path"]:
        return "<object>" if isinstance(value["path"], str) and "://" in value["path"] else "<folder>"
    return f"<{keys[0]}>" if len(keys) == 1 else None


def _mapping(value: Any) -> Any:
    return {"path": value} if isinstance(value, str | Path) else value


SourceItem = Annotated[
    Annotated[FolderSource, Tag("<folder>")]
    | Annotated[ObjectSource, Tag("<object>")]
    | Annotated[SqlSource, Tag("<sql>")]
    | Annotated[SitemapSource, Tag("<sitemap>")],
    Discriminator(
        _kind,
        custom_error_type="kind_of_source",
        custom_error_message="a source is a path, or a mapping with one of path, sql and sitemap",
    ),
    BeforeValidator(_mapping),
]
"""An item of `retrieval.sources` as it is written: a path or URL alone, or a mapping.

pydantic puts the tag into the location of an error; the brackets tell it from a key."""


def _kept(value: SourceAttributes, attributes: Callable[[], Attributes]) -> SourceAttributes:
    """The value, where every store gives it back as it was."""
    try:
        attributes()
    except TandemError as error:
        raise ValueError(f"{error.seen} {error.accepted}".rstrip(".")) from error
    return value


def _is_encoding(name: str) -> bool:
    """Whether bytes in it are texts: Python also calls idna, base64 and escapes of its own encodings."""
    try:
        found = codecs.lookup(name).name.replace("_", "-")
        return found not in _NO_ENCODINGS and bool(bytes(4).decode(found))
    except (LookupError, ValueError, TypeError):
        return False
