"""What a run of the index found and did."""

from dataclasses import dataclass, field

from cluster.errors import TandemError


@dataclass(frozen=True)
class Failure:
    """A document, or a part of one, that was not indexed. What the collection held of a document stays, unless it is
    empty now."""

    source: str
    reason: str


@dataclass(frozen=True)
class EmptySource:
    """A source in which no document was found."""

    source: str
    num_kept: int
    """Documents of it that the collection keeps, since it may be empty by mistake."""

    def __str__(self) -> str:
        if not self.num_kept:
            return f"The source {self.source} holds no document."
        documents, they = ("document", "It is") if self.num_kept == 1 else ("documents", "They are")
        return (
            f"The source {self.source} holds no document now. The collection keeps {self.num_kept} {documents} of it. "
            f"{they} removed if the source is empty the next time too. Mount the source or correct its path if it is "
            "not meant to be empty; run `tandem index --allow-empty` if it is."
        )


@dataclass
class IndexReport:
    """What a run found and did. Counts are of documents, unless they say chunks."""

    collection: str
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    deleted: int = 0
    forgotten: list[str] = field(default_factory=list)
    """Documents that were found and left out since they were forgotten, by the names under which they came."""
    forgotten_as: dict[str, str] = field(default_factory=dict)
    """Of these, by that name, the other name that `tandem forget` was given."""
    failed: list[Failure] = field(default_factory=list)
    left_out: list[Failure] = field(default_factory=list)
    """What was left out of documents that were indexed in this run, such as pages without a text layer."""
    empty: list[EmptySource] = field(default_factory=list)
    other_files: dict[str, int] = field(default_factory=dict)
    """Files of folders and object stores that are no documents, by kind: a suffix, `named pipes`, ... What is hidden is
    not counted."""
    other_pages: dict[str, int] = field(default_factory=dict)
    """What the sitemaps name and is not read, by the reason."""
    notes: list[str] = field(default_factory=list)
    """What else a person should know of the run, in whole sentences."""
    num_chunks: int = 0
    """Chunks in the collection at the end."""
    num_embedded: int = 0
    """Chunks that were embedded in this run."""
    languages: frozenset[str] = frozenset()
    """Languages of the collection's documents (ISO 639-1), in each of which questions are analysed for BM25."""
    seconds: float = 0.0

    @property
    def num_kept(self) -> int:
        """Documents of sources that are suddenly empty."""
        return sum(empty.num_kept for empty in self.empty)

    @property
    def has_changes(self) -> bool:
        return bool(self.added or self.changed or self.deleted)

    @property
    def num_taken(self) -> int:
        """Documents of this run that the collection holds as they are now."""
        return self.added + self.changed + self.unchanged


def nothing_readable(report: IndexReport) -> TandemError:
    """A run in which every document failed."""
    first = report.failed[0]
    return TandemError(
        f"None of the {len(report.failed)} documents could be indexed; {first.source} {first.reason}.",
        "Documents are text in UTF-8 or the source's `encoding`, and files of the kinds that docs/retrieval.md lists.",
        "Correct the files, or name others under retrieval.sources.",
    )


def incomplete_copy(empty: EmptySource) -> TandemError:
    """A source is empty while its collection is being built anew."""
    return TandemError(
        f"The source {empty.source} holds no document now, and the collection has {empty.num_kept} of it.",
        "The settings have changed, so the collection is built anew, and would lose them; the old one stays.",
        "Correct or mount the source. If it is meant to be empty, run this again, or with --allow-empty at once.",
    )
