"""An adapter registry in an object store, and its copy in a folder.

It is pushed from where versions are made, and pulled by those who serve them.

    push("s3://bucket/adapters", Registry(root), "support")
    Mirror("s3://bucket/adapters", root).pull()

The store holds the registry's own layout. A version's manifest is put last and only where there is none yet, so that
two publishers never get one number; a copy becomes visible whole, and an alias moves once its versions are there.
"""

import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cluster.digests import digest_folder
from cluster.errors import TandemError
from cluster.registry import AdapterManifest, Registry
from cluster.storage import write_atomically

if TYPE_CHECKING:
    from obstore.store import ObjectStore

MANIFEST = "manifest.json"
REQUEST_S = 30
_FILE = re.compile(r"[a-z0-9_-]{1,63}/(v[1-9][0-9]*/.|(aliases|checks)/[a-z0-9_-]+\.json$)")


def push(url: str, registry: Registry, name: str) -> list[str]:
    """Copy an adapter's versions, checks and aliases to a store; what is there already is not sent again.

    Returns:
        What was sent, such as `support/v7`.

    Raises:
        TandemError: there is no such adapter, the store cannot be written, or it has another version of that number.
    """
    store, prefix = _opened(url)
    registry.resolve(name)
    sent: list[str] = []
    with _told(url):
        for version in registry.versions(name):
            path = f"{prefix}{name}/v{version.version}"
            if (known := _read(store, f"{path}/{MANIFEST}")) is None:
                _put_version(store, path, version.path)
                sent.append(f"{name}/v{version.version}")
            elif AdapterManifest.model_validate_json(known) != version.manifest:
                raise TandemError(
                    f"{url} has another {name}@{version.version} than this machine.",
                    "Versions never change once they are published.",
                    "Publish under another name, or push to another place.",
                )
        for folder in ("checks", "aliases"):
            for file in sorted((registry.root / name / folder).glob("*.json")):
                key, content = f"{prefix}{name}/{folder}/{file.name}", file.read_bytes()
                if _read(store, key) != content:
                    store.put(key, content)
                    sent.append(f"{name}/{folder}/{file.stem}")
    return sent


class Mirror:
    """The copy of a store's registry below `root`.

    Raises:
        TandemError: the URL names no store.
    """

    def __init__(self, url: str, root: Path) -> None:
        self.url, self._root = url, root
        self._store, self._prefix = _opened(url)
        self._tags: dict[str, str | None] = {}
        self.refused: dict[str, str] = {}
        """Versions and aliases that were not taken, with the reason."""

    def pull(self) -> list[str]:
        """Take what is new: versions first, then checks and aliases.

        Returns:
            What was taken, such as `support/v7`.

        Raises:
            TandemError: the store does not answer; what is here stays as it is.
        """
        with _told(self.url):
            listed = dict(self._listed())
            return [*self._versions(listed), *self._files(listed)]

    def _listed(self) -> Iterator[tuple[str, str | None]]:
        """Every file of a registry below the prefix, without it, and its ETag."""
        for page in self._store.list(self._prefix or None):
            for each in page:
                key = each["path"].removeprefix(self._prefix)
                if _FILE.match(key) and ".." not in key.split("/"):
                    yield key, each["e_tag"]

    def _versions(self, listed: dict[str, str | None]) -> Iterator[str]:
        for key in listed:
            version, _, file = key.rpartition("/")
            if file == MANIFEST and not (self._root / key).exists() and version not in self.refused:
                files = [other for other in listed if other.startswith(f"{version}/")]
                if self._take(version, files):
                    yield version

    def _take(self, version: str, files: list[str]) -> bool:
        beside = self._root / version.partition("/")[0] / f".pull-{uuid.uuid4().hex}"
        try:
            for key in files:
                to = beside / key.removeprefix(f"{version}/")
                to.parent.mkdir(parents=True, exist_ok=True)
                to.write_bytes(self._store.get(self._prefix + key).bytes())
            manifest = (beside / MANIFEST).read_bytes()
            (beside / MANIFEST).unlink()
            if digest_folder(beside) != _value(manifest).get("content_digest"):
                self.refused[version] = f"{version} in {self.url} is not what its manifest says."
                return False
            write_atomically(beside / MANIFEST, manifest)
            try:
                beside.rename(self._root / version)
            except OSError:  # another process of this machine was first
                return False
            return True
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _files(self, listed: dict[str, str | None]) -> Iterator[str]:
        for key, tag in sorted(listed.items()):
            name, _, rest = key.partition("/")
            folder = rest.partition("/")[0]
            if folder not in ("aliases", "checks") or self._tags.get(key, "") == tag:
                continue
            content = self._store.get(self._prefix + key).bytes().to_bytes()
            if folder == "aliases":
                if not (versions := _named(content)):
                    self._tags[key], self.refused[key] = tag, f"{key} in {self.url} names no version."
                    continue
                if not all(self._has(name, version) for version in versions):
                    continue  # asked again with the next pull
            self._tags[key] = tag
            if not (self._root / key).exists() or (self._root / key).read_bytes() != content:
                write_atomically(self._root / key, content)
                yield key.removesuffix(".json")

    def _has(self, name: str, version: str) -> bool:
        return (self._root / name / f"v{version}" / MANIFEST).exists()


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


def _put_version(store: "ObjectStore", path: str, folder: Path) -> None:
    from obstore.exceptions import AlreadyExistsError

    files = sorted(file for file in folder.rglob("*") if file.is_file() and file.name != MANIFEST)
    for file in files:
        store.put(f"{path}/{file.relative_to(folder).as_posix()}", file)
    try:
        store.put(f"{path}/{MANIFEST}", folder / MANIFEST, mode="create")
    except AlreadyExistsError:
        raise TandemError(
            f"{path} was published by somebody else at this moment.",
            "A number that nobody has taken.",
            "Push again: it says whether the two are the same.",
        ) from None


def _read(store: "ObjectStore", key: str) -> bytes | None:
    try:
        return store.get(key).bytes().to_bytes()
    except FileNotFoundError:  # which obstore's own error for it is as well
        return None


def _opened(url: str) -> "tuple[ObjectStore, str]":
    """The store, and the prefix of its keys."""
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    parts = urlsplit(url)
    options: Any = {"timeout": f"{REQUEST_S}s", "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"}
    try:
        store = from_url(
            f"{parts.scheme}://{parts.netloc}", client_options=options,
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=REQUEST_S)},
        )  # fmt: skip
    except (BaseError, ValueError) as error:
        raise _unavailable(url, error) from None
    path = parts.path.strip("/")
    return store, f"{path}/" if path else ""


@contextmanager
def _told(url: str) -> Iterator[None]:
    """Turns what the store raises into our words."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError, PermissionError) as error:
        raise _unavailable(url, error) from error


def _unavailable(url: str, error: BaseException) -> TandemError:
    reason = str(error).strip().partition("\n")[0][:300]
    return TandemError(
        f"The adapters in {url} cannot be reached ({reason}).",
        "A bucket such as s3://bucket/adapters, with credentials in the environment (AWS_..., GOOGLE_..., AZURE_...).",
        "Correct the address or the credentials, or try again.",
    )
