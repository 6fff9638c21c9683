"""A copy of a bucket's adapter registry in a folder, for those who serve it; and what sends one there.

    push("s3://bucket/adapters", Registry(root), "support")
    Mirror("s3://bucket/adapters", root).pull()

A version becomes visible in the copy whole, and an alias moves once its versions are there.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cluster.errors import TandemError
from cluster.fingerprints.digests import digest_json
from cluster.registry.registry import AdapterVersion, Registry, UnknownAdapter
from cluster.registry.transfer import MANIFEST, DamagedVersion, fetch_version, send_files
from cluster.storage.buckets import open_bucket
from cluster.storage.files import explained_disk, write_atomically

_FILE = re.compile(r"[a-z0-9_-]{1,63}/(v[1-9][0-9]*/.|(aliases|checks)/[a-z0-9_-]+\.json$)")


def push_versions(url: str, registry: Registry, name: str) -> list[str]:
    """Copy an adapter's versions, checks and aliases to a store; what is there already is not sent again.

    Returns:
        What was sent, such as `support/v7`.

    Raises:
        TandemError: there is no such adapter, the store cannot be written, or it has another version of that number.
    """
    there = Registry(registry.root, open_bucket(url))
    registry.resolve(name)
    sent = [f"{name}/v{version.version}" for version in registry.versions(name) if _push_version(there, version)]
    for key in registry.place.glob(f"{name}/checks/*.json"):
        content = _content(registry, key)
        if _content(there, key) != content:
            assert there.bucket and content
            there.bucket.put(key, content)
            sent.append(key.removesuffix(".json"))
    for key in registry.place.glob(f"{name}/aliases/*.json"):
        alias = _value(_content(registry, key) or b"")
        before = alias.pop("before", [])
        if there.write_alias(name, Path(key).stem, alias, before):
            sent.append(key.removesuffix(".json"))
    return sent


def _push_version(there: Registry, version: AdapterVersion) -> bool:
    """Whether it had to be sent. Its number is taken there first; sent in part, it is gone on with by the same one."""
    name, number, manifest = version.name, version.version, version.manifest
    try:
        known = there.get(name, number).manifest
    except UnknownAdapter:
        known = None
    owner = json.dumps({"pushed": digest_json(manifest.model_dump(mode="json"))}).encode()
    if known == manifest:
        return False
    if known is not None or not there.take_number(name, number, owner):
        assert there.bucket
        raise TandemError(
            f"{there.bucket.url} has another {name}@{number} than this machine.",
            "Versions never change once they are published, and a number is given once.",
            "Publish under another name, or push to another place.",
        )
    assert there.bucket
    send_files(there.bucket, version.path, f"{name}/v{number}")
    there.place.create(f"{name}/v{number}/{MANIFEST}", (version.path / MANIFEST).read_bytes())
    return True


def _content(registry: Registry, key: str) -> bytes | None:
    stored = registry.place.read(key)
    return stored.content if stored else None


class Mirror:
    """The copy of a store's registry below `root`.

    Raises:
        TandemError: the URL names no store.
    """

    def __init__(self, url: str, root: Path) -> None:
        self.url, self._root = url, root
        self._bucket = open_bucket(url)
        self._tags: dict[str, str | None] = {}
        self.refused: dict[str, str] = {}
        """Versions and aliases that were not taken, with the reason."""

    def pull(self) -> list[str]:
        """Take what is new: versions first, then checks and aliases.

        Returns:
            What was taken, such as `support/v7`.

        Raises:
            TandemError: the store does not answer, or the disk is full; what is here stays as it is.
        """
        listed = {key: tag for key, (tag, _) in self._bucket.listed().items() if _is_ours(key)}
        return [*self._versions(listed), *self._files(listed)]

    def _versions(self, listed: dict[str, str | None]) -> Iterator[str]:
        for key in listed:
            version, _, file = key.rpartition("/")
            if file == MANIFEST and not (self._root / key).exists() and version not in self.refused:
                files = [other for other in listed if other.startswith(f"{version}/")]
                try:
                    fetch_version(self._bucket, version, self._root / version, files)
                except DamagedVersion as error:
                    self.refused[version] = error.seen
                else:
                    yield version

    def _files(self, listed: dict[str, str | None]) -> Iterator[str]:
        for key, tag in sorted(listed.items()):
            name, _, rest = key.partition("/")
            folder = rest.partition("/")[0]
            if folder not in ("aliases", "checks") or self._tags.get(key, "") == tag:
                continue
            if (stored := self._bucket.read(key)) is None:
                continue
            if folder == "aliases":
                if not (versions := _named(stored.content)):
                    self._tags[key], self.refused[key] = tag, f"{key} in {self.url} names no version."
                    continue
                if not all((self._root / name / f"v{version}" / MANIFEST).exists() for version in versions):
                    continue  # asked again with the next pull
            self._tags[key] = tag
            if self._keep(key, stored.content):
                yield key.removesuffix(".json")

    def _keep(self, key: str, content: bytes) -> bool:
        path = self._root / key
        if path.exists() and path.read_bytes() == content:
            return False
        with explained_disk(path):
            write_atomically(path, content)
        return True


def _is_ours(key: str) -> bool:
    return bool(_FILE.match(key)) and ".." not in key.split("/")


def _named(alias: bytes) -> list[str]:
    """The versions of an alias; none where it is malformed."""
    value = _value(alias)
    split, version = value.get("split"), value.get("version")
    if isinstance(split, dict):
        return list(split)
    return [str(version)] if isinstance(version, int) else []


def _value(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
