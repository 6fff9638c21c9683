"""The same stores as `cluster.buckets`, as pyarrow opens them: Ray Train writes checkpoints through it."""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.errors import TandemError

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem


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
