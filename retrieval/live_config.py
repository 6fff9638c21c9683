"""The `retrieval.live` section: a search engine that is asked beside the index. Importable without any client."""

import re
from typing import Annotated

from pydantic import Field, field_validator

from cluster.config import Section

_INDEX = re.compile(r"[a-z0-9][a-z0-9._*-]{0,254}")


class LiveConfig(Section):
    """An engine with the `_search` of Elasticsearch and OpenSearch, asked with each question and fused with the index.

    Its documents are for everybody, unless `tenant_field` or `access_field` says whom each is for.
    """

    url: str
    """http(s) address of the engine. Its credentials are read from the environment variable SEARCH_API_KEY (an API
    key, or user:password), never from this file."""

    index: str
    """Name of the engine's index, its alias, or a pattern with `*`."""

    text_field: str = "text"
    """The field with a document's text. Its best part, of about 1,000 characters, becomes the passage."""

    title_field: str | None = "title"
    """The field with a document's title; it is searched too. Without one, the title is the document's name."""

    source_field: str | None = None
    """The field that names a document in citations, such as its address. Default: `<index>/<id>`."""

    candidates: Annotated[int, Field(ge=1, le=100)] = 20
    """Number of documents asked for."""

    timeout_s: Annotated[float, Field(gt=0, le=60)] = 1.0
    """Seconds after which a search goes on without the engine."""

    required: bool = False
    """Whether a search fails where the engine does not answer. Else it goes on, and the result says what is missing."""

    tenant_field: str | None = None
    """The field with a document's tenant, of the engine's type `keyword`. A document without one is for all tenants.
    Without this setting every document is for all tenants."""

    access_field: str | None = None
    """The field with a document's access labels (a text or a list, `keyword`). A document without them is for everybody
    in its tenant. Without this setting every document is."""

    metadata_fields: dict[str, str] = Field(default_factory=dict)
    """Which field of the engine (`keyword`, a number or a boolean) holds which metadata. A search whose filter names
    others leaves the engine out."""

    @field_validator("url")
    @classmethod
    def _plain_address(cls, url: str) -> str:
        if not re.fullmatch(r"https?://[^/@?#\s]+(/[^@?#\s]*)?", url):
            raise ValueError("url is an http(s) address without credentials; those are read from SEARCH_API_KEY")
        return url.rstrip("/")

    @field_validator("index")
    @classmethod
    def _one_index(cls, index: str) -> str:
        if not _INDEX.fullmatch(index):
            raise ValueError("an index has the characters a-z, 0-9, ., _, - and *, and begins with a letter or digit")
        return index
