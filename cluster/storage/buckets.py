"""Object stores (S3, GCS, Azure, and what speaks as they do), opened in one way for everybody.

    bucket = open_bucket("s3://bucket/prefix")
    bucket.create("numbers/v1.json", b"mine")     # True for exactly one of all who try

Every change that others may make as well is a conditional put: `create` only where there is nothing yet, `replace` only
where the object still is what was read. Credentials come from the environment, in obstore's names.

`open_filesystem` opens the same stores through pyarrow, with which Ray Train writes checkpoints.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from cluster.errors import TandemError
from cluster.storage.objects import StoredObject, key_matches

if TYPE_CHECKING:
    from obstore.store import ObjectStore
    from pyarrow.fs import FileSystem


SCHEMES = frozenset({"s3", "s3a", "gs", "az", "abfs", "abfss", "azure", "adl"})
T = TypeVar("T")
CONNECT_S, REQUEST_S, RETRIES = 5, 30, 3
CHUNK_BYTES = 8 << 20
_REFUSED = re.compile(r"ExpiredToken|InvalidAccessKeyId|InvalidToken|SignatureDoesNotMatch|AccessDenied")
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist")


class BucketUnreachable(TandemError):
    """A store that is missing, refuses the credentials or does not answer."""


def open_store(url: str, request_s: int = REQUEST_S) -> "tuple[ObjectStore, str]":
    """The store, and the path in it.

    Args:
        request_s: seconds that one request may take; twice that with all retries.

    Raises:
        ValueError, obstore.exceptions.BaseError: there can be no such store.
    """
    from obstore.store import from_url

    parts = urlsplit(url)
    # obstore no longer looks for AWS_ALLOW_HTTP where it is given options.
    options: Any = {"connect_timeout": f"{CONNECT_S}s", "timeout": f"{request_s}s", "allow_http": allows_http()}
    store = from_url(
        f"{parts.scheme}://{parts.netloc}", client_options=options,
        retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=2 * request_s)},
    )  # fmt: skip
    return store, parts.path.strip("/")


def open_bucket(url: str) -> "Bucket":
    """What lies below a URL such as s3://bucket/prefix; nothing is asked for yet.

    Raises:
        Unreachable: there can be no such store.
    """
    store, path = _opened(url)
    return Bucket(url.rstrip("/"), f"{path}/" if path else "", [store])


def allows_http() -> bool:
    return os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true"


def failure_reason(error: BaseException) -> str:
    """What obstore's error says, without what the address of the request says, which may be a signature."""
    code = re.search(r"<Code>(\w+)</Code>", str(error))
    return code[1] if code else re.sub(r"\?\S+", "", str(error).split("\n")[0]).strip()[:300]


@dataclass(frozen=True)
class Bucket:
    """The objects below one URL, by their keys under it.

    Every method raises Unreachable where the store is missing, refuses the credentials or does not answer. A request
    that is refused is made once more with the credentials that the environment has by then.
    """

    url: str
    prefix: str = ""
    _store: "list[ObjectStore]" = field(default_factory=list, compare=False, repr=False)

    def __str__(self) -> str:
        return self.url

    def at(self, below: str) -> "Bucket":
        """The part below a further prefix."""
        return replace(self, url=f"{self.url}/{below}", prefix=f"{self.prefix}{below}/")

    def __reduce__(self) -> Any:
        """A connection does not travel to another process."""
        return open_bucket, (self.url,)

    def read(self, key: str) -> StoredObject | None:
        """A small object, or None where there is none."""
        try:
            content, meta = self._ask(lambda store: _all_of(store.get(self.prefix + key)))
        except FileNotFoundError:
            return None
        # A conditional put asks for these: S3 and Azure know an object by its ETag, GCS by its version.
        return StoredObject(content, {name: meta[name] for name in ("e_tag", "version") if meta.get(name)})

    def create(self, key: str, content: bytes) -> bool:
        """Put an object only where there is none yet; of several writers exactly one gets True.

        Content that is there already counts as this call's own: an answer that was lost on its way looks like that.
        So writers that must not take each other's for theirs put something into it that nobody else has.
        """
        from obstore.exceptions import AlreadyExistsError

        try:
            self._ask(lambda store: store.put(self.prefix + key, content, mode="create"))
        except AlreadyExistsError:
            return self._holds(key, content)
        except BucketUnreachable:  # perhaps only its answer did not arrive
            if not self._holds(key, content):
                raise
        return True

    def replace(self, key: str, old: StoredObject | None, content: bytes) -> bool:
        """Put an object only where what is there still is `old`; None: where there is nothing.

        False as well where it was put and the answer was lost: `places.update` finds its own content then.
        """
        from obstore.exceptions import PreconditionError

        if old is None:
            return self.create(key, content)
        try:
            self._ask(lambda store: store.put(self.prefix + key, content, mode=old.tag))
        except (PreconditionError, FileNotFoundError):
            return False
        except BucketUnreachable:
            if not self._holds(key, content):
                raise
        return True

    def _holds(self, key: str, content: bytes) -> bool:
        stored = self.read(key)
        return stored is not None and stored.content == content

    def put(self, key: str, content: bytes | Path) -> str | None:
        """Put an object whatever is there; its ETag. A large file goes in parts and appears whole."""
        put: Any = self._ask(lambda store: store.put(self.prefix + key, content))
        return str(put["e_tag"])

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        with suppress(FileNotFoundError):
            self._ask(lambda store: store.delete(self.prefix + key))

    def download(self, key: str, to: Path) -> str | None:
        """Copy an object to a file, and return its ETag; piece by piece, since a request must end in time.

        Raises:
            FileNotFoundError: there is none.
        """
        to.parent.mkdir(parents=True, exist_ok=True)
        meta: Any = self._ask(lambda store: store.head(self.prefix + key))
        with to.open("wb") as file:
            for start in range(0, meta["size"], CHUNK_BYTES):
                file.write(self._piece(key, start, min(start + CHUNK_BYTES, meta["size"]), meta["e_tag"]))
        return str(meta["e_tag"])

    def _piece(self, key: str, start: int, end: int, tag: str) -> bytes:
        options: Any = {"range": (start, end), "if_match": tag}
        return self._ask(lambda store: _all_of(store.get(self.prefix + key, options=options)))[0]

    def listed(self, below: str = "") -> "dict[str, tuple[str | None, datetime]]":
        """Every key that begins with `below`, with its ETag and the time of its last change by the store's clock."""
        # obstore takes a prefix in whole folders only.
        folder = (self.prefix + below).rpartition("/")[0]
        pages: Any = self._ask(lambda store: list(store.list(folder or None)))
        entries = {each["path"]: (each["e_tag"], each["last_modified"]) for page in pages for each in page}
        whole = self.prefix + below
        return {path.removeprefix(self.prefix): about for path, about in entries.items() if path.startswith(whole)}

    def glob(self, pattern: str) -> list[str]:
        """The keys that a pattern matches; `*` stands for what has no `/`."""
        return sorted(key for key in self.listed(pattern.partition("*")[0]) if key_matches(key, pattern))

    def check(self) -> None:
        """Raises Unreachable where nothing can be written and removed again."""
        self.put(key := f".probe-{os.urandom(8).hex()}", b"")
        self.delete(key)

    def _ask(self, request: "Callable[[ObjectStore], T]") -> T:
        """What the store answers; asked again, with what the environment has by then, where it refuses credentials.

        Raises:
            FileNotFoundError, AlreadyExistsError, PreconditionError: of the object.
            Unreachable: of all else.
        """
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        try:
            try:
                return request(self._store[0])
            except (BaseError, PermissionError) as error:
                if not _is_refused(error):
                    raise
                self._store[:] = [_opened(self.url)[0]]
                return request(self._store[0])
        except (AlreadyExistsError, PreconditionError):
            raise
        except (BaseError, OSError) as error:
            if isinstance(error, FileNotFoundError) and not _NO_BUCKET.search(str(error)):
                raise
            raise _unreachable(self.url, error) from error


def _all_of(result: Any) -> tuple[bytes, Any]:
    return bytes(result.bytes()), result.meta


def _opened(url: str) -> "tuple[ObjectStore, str]":
    from obstore.exceptions import BaseError

    try:
        return open_store(url)
    except (BaseError, ValueError) as error:
        raise _unreachable(url, error) from None


def _is_refused(error: BaseException) -> bool:
    from obstore.exceptions import PermissionDeniedError, UnauthenticatedError

    # S3 says with a 400 that a token has expired, which obstore takes for any other mistake.
    known = isinstance(error, PermissionError | PermissionDeniedError | UnauthenticatedError)
    return known or _REFUSED.search(str(error)) is not None


def _unreachable(url: str, error: BaseException) -> BucketUnreachable:
    if _NO_BUCKET.search(str(error)):
        remedy = "Make the bucket, or correct its name."
    elif _is_refused(error):
        remedy = "Renew or correct the credentials and run the command again: what was stored before stays."
    else:
        remedy = "Correct the address, or try again: what was stored before stays."
    return BucketUnreachable(
        f"The store {url} cannot be used: {failure_reason(error)}.",
        "A bucket that may be read and written, with credentials in the environment (for S3: AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION, AWS_ENDPOINT_URL, or a role of the machine).",
        remedy,
    )


def open_filesystem(url: str) -> "tuple[FileSystem, str]":
    """The file system, and the path of `url` in it, with credentials of the environment.

    Raises:
        TandemError: a store that pyarrow does not open.
    """
    parts = urlsplit(url)
    path = f"{parts.netloc}{parts.path}".rstrip("/")
    if parts.scheme in ("s3", "s3a"):
        return _s3(), path
    if parts.scheme == "gs":
        from pyarrow.fs import GcsFileSystem

        return GcsFileSystem(), path
    if parts.scheme in ("az", "azure"):
        return _azure(), path
    raise TandemError(
        f"Checkpoints cannot be written to {parts.scheme}:// addresses.",
        "s3://, gs:// and az://.",
        "Write `storage` as one of these, or train on a folder.",
    )


def _s3() -> "FileSystem":
    from pyarrow.fs import S3FileSystem

    endpoint = urlsplit(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "")
    skips = os.environ.get("AWS_SKIP_SIGNATURE", "").lower() == "true"
    return S3FileSystem(
        anonymous=skips, region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        scheme=endpoint.scheme or "https", endpoint_override=endpoint.netloc or None,
        connect_timeout=5, request_timeout=60,
    )  # fmt: skip


def _azure() -> "FileSystem":
    from pyarrow.fs import AzureFileSystem

    account = os.environ.get("AZURE_STORAGE_ACCOUNT_NAME")
    if account is None:
        raise TandemError(
            "AZURE_STORAGE_ACCOUNT_NAME is not set.", "The name of the storage account.", "Set it in the environment."
        )
    emulator = urlsplit(os.environ.get("AZURITE_BLOB_STORAGE_URL", ""))
    where = {}
    if emulator.netloc:
        where = {f"{kind}_storage_authority": emulator.netloc for kind in ("blob", "dfs")}
        where |= {f"{kind}_storage_scheme": emulator.scheme for kind in ("blob", "dfs")}
    return AzureFileSystem(account, account_key=os.environ.get("AZURE_STORAGE_ACCOUNT_KEY"), **where)
