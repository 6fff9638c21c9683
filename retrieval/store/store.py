"""A Milvus server and its collections.

A collection `help-desk` is an alias; behind it stands a collection whose name ends in a digest of the settings it was
built with (model, chunking, schema). New settings are built beside the old ones and the alias is switched when they
are complete. Reads of a sync are strong; searches take what is visible.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from retrieval.config import MilvusConfig, RetrievalConfig
from retrieval.errors import RequestRefused, foreign_collection, no_index, no_partitions, owned_collection
from retrieval.filters.filters import Filter, encode
from retrieval.store.collection import (
    ChunkRow,
    CollectionSettings,
    alias_of,
    collection_indexes,
    name_of,
    physical_name,
)
from retrieval.store.connection import connect, explained_connection, make_client
from retrieval.store.identity import OWNER_PROPERTY, ProjectIdentity, owner_of
from retrieval.store.index_parameters import Index, num_candidates
from retrieval.store.properties import Properties
from retrieval.store.retries import retry_patiently
from retrieval.store.rows import Rows

CONNECT_S = 5.0
WRITE_S = 60.0
BM25_SINCE = (2, 5)
# Before, an upsert puts rows into the partition of another field's value, where searches by tenant miss them
# (milvus#30607; seen with 2.3.5).
TENANT_PARTITIONS_SINCE = (2, 4)
# convertHanToASCII of its parser came after 2.3.5.
HAN_MANGLED_SINCE = (2, 4)
SETTINGS_PROPERTY = "tandem.settings"
LANGUAGES_PROPERTY = "tandem.languages"
ALIAS_NOT_FOUND = 1600
DEFAULT = MilvusConfig()


class Store(Rows, Properties):
    """A connection to one Milvus server. Thread-safe; every call has a deadline.

    Args:
        uri: http(s) address of the server.
        config: how collections are laid out and the server is reached.
        timeout_s: seconds for a call that is answered at once; those that write or load have more.
        patience_s: seconds for which calls are repeated while the server does not answer. A search has none.

    Raises:
        RetrievalUnavailable: (by any member) the server does not answer in time.
        TandemError: the server refuses the token from MILVUS_TOKEN, or its certificate is not trusted.
    """

    def __init__(
        self, uri: str, config: MilvusConfig = DEFAULT, timeout_s: float = CONNECT_S, patience_s: float = 0.0
    ) -> None:
        self.uri, self.config, self.timeout_s, self.patience_s = uri, config, timeout_s, patience_s
        self.write_s = min(WRITE_S, patience_s) if patience_s else WRITE_S
        self.gone_since: float | None = None
        self.before_write: Callable[[], None] | None = None
        self.owner: ProjectIdentity | None = None
        self._deleted: Counter[str] = Counter()
        self._unpublished: Counter[str] = Counter()
        self.client = connect(uri, config, timeout_s)
        with explained_connection(uri):
            self.version: str = self.client.get_server_version(timeout=timeout_s)

    @property
    def is_lite(self) -> bool:
        return self.version.startswith("milvus_lite")

    @property
    def keeps_what_an_upsert_lacks(self) -> bool:
        """Milvus Lite merges a row into the one of the same id, so that metadata which were taken away stay."""
        return self.is_lite

    @property
    def has_bm25(self) -> bool:
        """Milvus Lite has it, servers since 2.5."""
        return self._is_since(BM25_SINCE)

    def encode(self, where: Filter) -> str:
        """A filter as this server parses it. Raises a TandemError where it would take it for another."""
        return encode(where, keeps_han=self.is_lite or not self._is_since(HAN_MANGLED_SINCE))

    def _is_since(self, version: tuple[int, int]) -> bool:
        """Milvus Lite counts as the newest."""
        number = re.search(r"(\d+)\.(\d+)", self.version)
        return self.is_lite or (number is not None and (int(number[1]), int(number[2])) >= version)

    @property
    def consistency(self) -> str:
        """That of searches, in Milvus' words; a sync's reads are strong."""
        return self.config.consistency.capitalize()

    def filled(self, name: str) -> list[str]:
        """Every collection of `name` that may hold rows: the one that is searched, and unfinished ones.

        One without its indexes holds none: a run was killed while it was made, and the next one makes it anew.
        """
        with explained_connection(self.uri):
            return [
                physical for physical in self._ours(name) if self.client.list_indexes(physical, timeout=self.timeout_s)
            ]

    def collections(self) -> list[str]:
        """Names of the collections that can be searched."""
        return sorted({name for name in self._built() if name_of(self._behind(name) or "") == name})

    @retry_patiently
    def current(self, name: str) -> str | None:
        """The collection behind the alias of `name`; None where none is complete.

        Raises:
            TandemError: others gave that name to a collection of theirs.
        """
        physical = self._behind(name)
        if physical is not None and name_of(physical) != name:
            raise foreign_collection(self.uri, physical, self._dimensions(physical))
        return physical

    @retry_patiently
    def settings(self, physical: str) -> CollectionSettings | None:
        """What `physical` was built with; None where another version of the schema wrote it.

        Raises:
            TandemError: it is not ours.
        """
        written = self._written(physical)
        if written is None:
            raise foreign_collection(self.uri, physical, self._dimensions(physical))
        with suppress(TypeError, ValueError):
            return CollectionSettings(**json.loads(written))
        return None

    def languages(self, physical: str) -> frozenset[str]:
        """The languages that documents of `physical` have been found to be in: a question is analysed in each."""
        return frozenset((self.properties(physical) or {}).get(LANGUAGES_PROPERTY, "").split(",")) - {""}

    def add_languages(self, physical: str, languages: Collection[str]) -> None:
        """Keep that documents are in these languages too."""
        known = self.languages(physical)
        if not known.issuperset(languages):
            self.set_properties(physical, {LANGUAGES_PROPERTY: ",".join(sorted(known | set(languages)))})

    @retry_patiently
    def ensure(self, name: str, settings: CollectionSettings) -> str:
        """The collection of `name` with these settings, created empty where it does not exist.

        Raises:
            TandemError: a collection of that name is not ours, or the server has no such index or partitions.
        """
        if settings.num_partitions and not self._is_since(TENANT_PARTITIONS_SINCE):
            raise no_partitions(self.uri, self.version)
        physical = self.physical(name, settings)
        current = self.current(name)
        with explained_connection(self.uri):
            if current is None and self.client.has_collection(alias_of(name), timeout=self.timeout_s):
                raise foreign_collection(self.uri, alias_of(name), self._dimensions(alias_of(name)))
            exists = self.client.has_collection(physical, timeout=self.timeout_s)
            if exists and (self._written(physical) is None or self._dimensions(physical) != settings.dimensions):
                raise foreign_collection(self.uri, physical, self._dimensions(physical))
            if exists and not self._indexed(physical, settings):
                self.client.drop_collection(physical, timeout=self.timeout_s)
                exists = False
            if not exists:
                self._create(physical, settings)
            if physical != current:
                held = self.client.get_collection_stats(physical, timeout=self.timeout_s)
                self._unpublished[physical] = int(held["row_count"])
        return physical

    def physical(self, name: str, settings: CollectionSettings) -> str:
        return physical_name(name, digest_json(settings.values))

    def claim(self, name: str, owner: ProjectIdentity | None, take_over: bool) -> list[str]:
        """Let all that was or will be built for `name` belong to `owner`; to nobody where that is None.

        Args:
            take_over: also what belongs to another project.

        Returns:
            In whole sentences, what has another owner from now on.

        Raises:
            TandemError: it belongs to another project.
        """
        if not take_over and (other := self.other_owner(name, owner)):
            raise owned_collection(name, self.uri, f"`{other.project}`", other.where)
        self.owner, changes = owner, dict[str, None]()
        for physical in self._ours(name):
            earlier = owner_of(self.properties(physical) or {})
            if owner is not None and (earlier is None or earlier.id != owner.id):
                self.set_properties(physical, {OWNER_PROPERTY: owner.written()})
                before = f"it belonged to `{earlier.project}`, {earlier.where}" if earlier else "it belonged to nobody"
                changes[f"The collection {name} belongs to this project from now on; {before}."] = None
        return list(changes)

    def other_owner(self, name: str, owner: ProjectIdentity | None) -> ProjectIdentity | None:
        """Another project than `owner` that something built for `name` belongs to; None where there is none."""
        owners = [owner_of(self.properties(physical) or {}) for physical in self._ours(name)]
        return next((each for each in owners if each and (owner is None or each.id != owner.id)), None)

    @retry_patiently
    def publish(self, name: str, physical: str) -> None:
        """Point the alias of `name` at `physical` and drop what was built for it with other settings."""
        self.check_writer()
        current = self.current(name)
        with explained_connection(self.uri):
            if current is None:
                self.client.create_alias(physical, alias_of(name), timeout=self.timeout_s)
            elif current != physical:
                self.client.alter_alias(physical, alias_of(name), timeout=self.timeout_s)
            for other in self._ours(name):
                if other != physical:
                    self.client.drop_collection(other, timeout=self.timeout_s)
        self._unpublished.pop(physical, None)

    @retry_patiently
    def drop(self, name: str) -> None:
        """Remove everything that we built for `name`."""
        built = self._ours(name)
        with explained_connection(self.uri):
            if built and self.current(name):
                self.client.drop_alias(alias_of(name), timeout=self.timeout_s)
            for physical in built:
                self.client.drop_collection(physical, timeout=self.write_s)

    def upsert(self, physical: str, rows: Sequence[ChunkRow]) -> None:
        super().upsert(physical, rows)
        if rows:
            self._grew(physical, len(rows), len(rows[0].vector))

    def begin_import(self, physical: str, path: str, num_rows: int, dimensions: int) -> int:
        self._grew(physical, num_rows, dimensions)
        return super().begin_import(physical, path, num_rows, dimensions)

    @retry_patiently
    def rebuild(self, physical: str, indexes: Sequence[Index]) -> str:
        """Give the vectors another index, the first of `wanted` that the server has. Nothing is found meanwhile.

        Returns:
            The kind of index that was built, in Milvus' words.
        """
        with explained_connection(self.uri):
            self.client.release_collection(physical, timeout=self.write_s)
            if "vector" in self.client.list_indexes(physical, timeout=self.timeout_s):
                self.client.drop_index(physical, "vector", timeout=self.write_s)
        built = self._index(physical, indexes)
        self.load(physical)
        return built

    def index_kind(self, physical: str) -> str:
        """The index of the vectors, in Milvus' words."""
        with explained_connection(self.uri):
            return str(self.client.describe_index(physical, "vector", timeout=self.timeout_s)["index_type"])

    def outgrown(self, physical: str, num_rows: int) -> str | None:
        """What is to be said of a collection that is searched and holds more than `index: auto` would put into such an
        index. It keeps it: another one is built beside it once the setting says so."""
        kinds = {index.kind for index in num_candidates(self.config, num_rows, self._dimensions(physical) or 0)}
        kind = self.index_kind(physical)
        if self.is_lite or kind in kinds:
            return None
        return (
            f"{num_rows} rows are kept in {kind}, which takes more than retrieval.milvus.memory_gib "
            f"({self.config.memory_gib:g}): raise that, or set retrieval.milvus.index to diskann or ivf"
        )

    def close(self) -> None:
        self.client.close()

    def _grew(self, physical: str, num_rows: int, dimensions: int) -> None:
        """While nobody searches it, a collection that outgrows the memory it was made for gets another index."""
        if physical not in self._unpublished:
            return
        self._unpublished[physical] += num_rows
        indexes = num_candidates(self.config, self._unpublished[physical], dimensions)
        if not self.is_lite and self.index_kind(physical) not in {index.kind for index in indexes}:
            self.rebuild(physical, indexes)

    def _behind(self, name: str) -> str | None:
        """The collection that the alias of `name` points to, whoever made it."""
        try:
            with explained_connection(self.uri):
                described = self.client.describe_alias(alias_of(name), timeout=self.timeout_s)
        except RequestRefused as refused:
            if refused.code == ALIAS_NOT_FOUND or "not exist" in refused.seen or "not found" in refused.seen:
                return None
            raise
        return str(described["collection_name"])

    def _built(self) -> dict[str, list[str]]:
        """Collections of this server that are named like ours, also incomplete ones, by name."""
        built: dict[str, list[str]] = {}
        for physical in self.names():
            if (name := name_of(physical)) is not None:
                built.setdefault(name, []).append(physical)
        return built

    def _ours(self, name: str) -> list[str]:
        """What we built for `name`: others may have used such a name too."""
        return [physical for physical in self._built().get(name, []) if self._written(physical) is not None]

    def _written(self, physical: str) -> str | None:
        """The settings that are kept with a collection of ours."""
        return (self.properties(physical) or {}).get(SETTINGS_PROPERTY)

    def _dimensions(self, physical: str) -> int | None:
        """Of the field `vector`, or else of the first that has any."""
        with explained_connection(self.uri):
            described = self.client.describe_collection(physical, timeout=self.timeout_s)
        dimensions = {
            field["name"]: int(field["params"]["dim"]) for field in described["fields"] if "dim" in field["params"]
        }
        return dimensions.get("vector", next(iter(dimensions.values()), None))

    def _indexed(self, physical: str, settings: CollectionSettings) -> bool:
        """False where a process was killed between creating a collection and its indexes."""
        names = set(self.client.list_indexes(physical, timeout=self.timeout_s))
        return names >= {
            index.field_name for index in collection_indexes(settings, num_candidates(self.config, 0, 1)[0])
        }

    def _create(self, physical: str, settings: CollectionSettings) -> None:
        properties = {SETTINGS_PROPERTY: json.dumps(settings.values)}
        if self.owner:
            properties[OWNER_PROPERTY] = self.owner.written()
        make_client(self.client, physical, settings, properties, self.write_s)
        try:
            for index in collection_indexes(settings, num_candidates(self.config, 0, settings.dimensions)[0]):
                self._index(physical, [index])
        except TandemError:
            self.client.drop_collection(physical, timeout=self.timeout_s)
            raise
        self.load(physical)

    def _index(self, physical: str, indexes: Sequence[Index]) -> str:
        """Build the first of `wanted` that the server has: only it knows."""
        for number, index in enumerate(indexes, start=1):
            parameters = self.client.prepare_index_params()
            parameters.add_index(index.field_name, index_type=index.kind, metric_type=index.metric, params=index.params)
            try:
                if self.is_lite and index.kind in ("DISKANN", "IVF_RABITQ"):
                    raise no_index(self.uri, self.version, index.kind, "Milvus Lite does not have it")
                with explained_connection(self.uri):
                    self.client.create_index(physical, parameters, timeout=self.write_s)
                return index.kind
            except RequestRefused as refused:
                if number == len(indexes):
                    raise no_index(self.uri, self.version, index.kind, refused.seen) from refused
        raise AssertionError("an index is always wanted")


def require_search_mode(store: Store, config: RetrievalConfig) -> None:
    """Raises a TandemError where the server cannot search the way `config.mode` asks for."""
    if config.mode != "dense" and not store.has_bm25:
        raise TandemError(
            f"Milvus at {store.uri} is version {store.version}, which has no BM25.",
            f"retrieval.mode: {config.mode} needs Milvus 2.5 or newer, or Milvus Lite.",
            "Set retrieval.mode: dense, or use a newer server.",
        )
