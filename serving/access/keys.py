"""API keys: who may call, what each may ask for, and how much. Of a key itself only the hash is kept.

    keys = Keys(storage.keys_place)
    key, secret = keys.create("support team", tenant="acme", limits=Limits(requests_per_minute=60))
    keys.find(secret)

One object for each key, `<id>.json`; a change is seen by every gateway within a second. Gateways read a folder: where
the keys lie in a bucket, `follow_keys` brings what has changed there.
"""

import hashlib
import hmac
import re
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cluster.errors import TandemError
from cluster.storage.buckets import open_bucket
from cluster.storage.files import write_atomically
from cluster.storage.objects import Folder, Place
from retrieval.filters.rights import Rights
from retrieval.store.collection import collections_of
from serving.api.model_name import ModelName

SEEN_AFTER_S = 1.0
_SECRET = re.compile(r"tdm_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
AtLeastOne = Annotated[int, Field(ge=1, le=10**12)]


class Limits(BaseModel):
    """What a key may use; None is without a limit. A minute is any 60 seconds, a day one of UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: AtLeastOne | None = None
    tokens_per_minute: AtLeastOne | None = None
    tokens_per_day: AtLeastOne | None = None
    concurrency: AtLeastOne | None = None

    @property
    def is_any(self) -> bool:
        return any(limit is not None for limit in self.model_dump().values())


class Key(BaseModel):
    """What is kept of a key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    name: str
    digest: str
    """SHA-256 (hex) of the whole secret, which has 256 bits of chance: no salt is needed."""
    created: str
    models: tuple[str, ...] | None = None
    """`base` or `base:adapter`, with every version of it; None is all."""
    collections: tuple[str, ...] | None = None
    tenant: str | None = None
    labels: tuple[str, ...] = ()
    limits: Limits = Limits()
    keep: bool = False
    """Whether questions, answers and ratings may be kept for evaluation."""

    @property
    def rights(self) -> Rights:
        """What is found for this key in a collection."""
        return Rights(self.tenant, frozenset(self.labels))

    def may_ask(self, name: ModelName) -> bool:
        """Whether the key may use the model, and the collection where there is one."""
        return self.may_use(name.model, name.collection)

    def may_use(self, model: str | None, collection: str | None) -> bool:
        """The same by the names alone; None is not asked for."""
        may_search = (
            collection is None or self.collections is None or set(collections_of(collection)) <= set(self.collections)
        )
        return may_search and (model is None or self.models is None or model in self.models)


class Keys:
    """The keys in a folder or a bucket."""

    def __init__(self, place: Path | Place) -> None:
        self._place: Place = Folder(place, mode=0o600) if isinstance(place, Path) else place
        self._read: dict[str, tuple[float, Key | None]] = {}

    def create(
        self,
        name: str,
        *,
        models: tuple[str, ...] | None = None,
        collections: tuple[str, ...] | None = None,
        tenant: str | None = None,
        labels: tuple[str, ...] = (),
        limits: Limits = Limits(),  # noqa: B008  # frozen
        keep: bool = False,
    ) -> tuple[Key, str]:
        """A new key and its secret, which is nowhere else.

        Raises:
            TandemError: a model name cannot be read, or a tenant or label cannot be carried by a document.
        """
        for model in models or ():
            if (parsed := ModelName.parse(model)).version or parsed.collection:
                raise TandemError(
                    f"A key is to be for {model}.",
                    "A key is for models, base or base:adapter, with all versions; collections are named apart.",
                    "Leave version and collection out.",
                )
        Rights(tenant, frozenset(labels))
        while True:
            id = secrets.token_hex(6)
            secret = f"tdm_{id}_{secrets.token_urlsafe(32)}"
            key = Key(
                id=id, name=name, digest=_digest(secret), created=datetime.now(UTC).isoformat(timespec="seconds"),
                models=models, collections=collections, tenant=tenant, labels=labels, limits=limits, keep=keep,
            )  # fmt: skip
            if self._place.create(f"{id}.json", key.model_dump_json(indent=1).encode()):
                return key, secret

    def all(self) -> list[Key]:
        """Every key, the oldest first."""
        keys = (self._load(name.removesuffix(".json")) for name in self._place.glob("*.json"))
        return sorted((key for key in keys if key), key=lambda key: (key.created, key.id))

    def revoke(self, id: str) -> Key:
        """Remove a key by its id. Raises TandemError where there is none."""
        if not re.fullmatch("[0-9a-f]{12}", id) or (key := self._load(id)) is None:
            raise TandemError(f"There is no key {id!r}.", "The id of a key.", "See `tandem keys list`.")
        self._place.delete(f"{id}.json")
        return key

    def find(self, secret: str) -> Key | None:
        """The key that a secret belongs to."""
        match = _SECRET.fullmatch(secret)
        if match is None:
            return None
        key = self._recent(match[1])
        return key if key and hmac.compare_digest(key.digest, _digest(secret)) else None

    def _recent(self, id: str) -> Key | None:
        read_at, key = self._read.get(id, (-SEEN_AFTER_S, None))
        if time.monotonic() - read_at >= SEEN_AFTER_S:
            key = self._load(id)
            # An id that does not exist is not remembered: anybody can name one.
            self._read.pop(id, None)
            if key:
                self._read[id] = time.monotonic(), key
        return key

    def _load(self, id: str) -> Key | None:
        stored = self._place.read(f"{id}.json")
        try:
            return Key.model_validate_json(stored.content) if stored else None
        except ValidationError as error:
            raise TandemError(
                f"The file {self._place}/{id}.json is no key.", "Files that `tandem keys create` writes.",
                "Remove the file.",
            ) from error  # fmt: skip


def follow_keys(url: str, folder: Path) -> None:
    """Make the keys in a folder those of a bucket: what is new is brought, and what was revoked removed.

    Raises:
        TandemError: the bucket does not answer; the keys that are here stay.
    """
    bucket, here = open_bucket(url), Folder(folder)
    there = bucket.glob("*.json")
    for name in set(here.glob("*.json")) - set(there):
        here.delete(name)
    for name in set(there) - set(here.glob("*.json")):  # a key never changes
        if stored := bucket.read(name):
            write_atomically(folder / name, stored.content, 0o600)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
