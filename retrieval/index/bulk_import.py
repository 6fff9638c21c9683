"""Rows of a first load -> Parquet files where Milvus reads them -> import jobs, which write segments past its log.

importer = Importer(store, physical, settings, "s3://milvus-bucket/staging")
importer.await_earlier()
importer.add(rows)
importer.complete()

An import only ever adds: a row that is imported twice is there twice. So jobs that an earlier run left behind are
waited for before the rows of the collection are read, and what is there then is never imported again.
"""

import io
import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cluster.errors import TandemError
from cluster.storage.buckets import failure_reason
from retrieval.sources import clouds
from retrieval.store.collection import ChunkRow, CollectionSettings, collection_fields
from retrieval.store.store import Store

if TYPE_CHECKING:
    from obstore.store import ObjectStore

FILE_BYTES = 64 * 2**20
POLL_S = 0.5
_SET_BY_SERVER = "sparse"
_META = "$meta"


class BulkImporter:
    """Writes to one collection that nobody searches yet.

    Args:
        place: a folder that the Milvus servers see under the same path, or a URL in the bucket that they keep their
            data in.

    Raises:
        TandemError: (by any member) the place cannot be written, or the server could not import what is there.
    """

    def __init__(self, store: Store, physical: str, settings: CollectionSettings, place: str) -> None:
        self.store, self.physical, self.place = store, physical, place
        self._fields = [field for field in collection_fields(settings) if field.name != _SET_BY_SERVER]
        self._dimensions = settings.dimensions
        self._staging, self._folder = _opened(place, physical)
        self._jobs: dict[int, str] = {}
        self._new_file()

    def await_earlier(self) -> None:
        """Wait for the jobs of a run that was broken off, and remove what it staged."""
        earlier = self.store.unfinished_imports(self.physical)
        while set(earlier) & set(self.store.unfinished_imports(self.physical)):
            time.sleep(POLL_S)
        with _explained(self.place):
            left = [each["path"] for page in self._staging.list(f"{self._folder}/") for each in page]
            if left:
                self._staging.delete(left)
        self.store.reload(self.physical)

    def add(self, rows: Sequence[ChunkRow]) -> None:
        """Rows that the collection does not hold. Those of one document come in one call, and into one file."""
        if not rows:
            return
        self._parquet.write_table(self._table(rows))
        self._num_rows += len(rows)
        if self._buffer.tell() >= FILE_BYTES:
            self._hand_over()

    def complete(self) -> None:
        """Import what is left and wait until all of it is found."""
        self._hand_over()
        if not self._jobs:
            return
        while self._jobs:
            self._look_after_jobs()
            time.sleep(POLL_S)
        self.store.reload(self.physical)

    def _new_file(self) -> None:
        import pyarrow.parquet as pq

        self._buffer, self._num_rows = io.BytesIO(), 0
        self._parquet = pq.ParquetWriter(self._buffer, self._schema())

    def _schema(self) -> Any:
        import pyarrow as pa

        kinds = {"VARCHAR": pa.string(), "INT64": pa.int64(), "FLOAT_VECTOR": pa.list_(pa.float32())}
        return pa.schema([*((field.name, kinds[field.kind]) for field in self._fields), (_META, pa.string())])

    def _table(self, rows: Sequence[ChunkRow]) -> Any:
        """Columns as the schema has them; metadata, which have no field, as one JSON object a row."""
        import pyarrow as pa

        records = [row.record() for row in rows]
        names = [field.name for field in self._fields]
        columns = {name: [record.pop(name) for record in records] for name in names}
        return pa.table({**columns, _META: [json.dumps(record) for record in records]}, schema=self._schema())

    def _hand_over(self) -> None:
        """Stage the file and have it imported; errors of earlier ones are not left for the end."""
        self._parquet.close()
        num_rows, content = self._num_rows, self._buffer.getvalue()
        self._new_file()
        if not num_rows:
            return
        path = f"{self._folder}/{uuid.uuid4().hex}.parquet"
        with _explained(self.place):
            self._staging.put(path, content)
        place = path if _is_url(self.place) else str(Path(self.place, path))
        self._jobs[self.store.begin_import(self.physical, place, num_rows, self._dimensions)] = path
        self._look_after_jobs()

    def _look_after_jobs(self) -> None:
        for job, path in list(self._jobs.items()):
            state = self.store.import_state(job)
            if state.failed is not None:
                raise _failed(self.place, path, state.failed)
            if state.is_complete:
                with _explained(self.place):
                    self._staging.delete(path)
                del self._jobs[job]


def check_bulk_import(store: Store, place: str) -> None:
    """Raises a TandemError where the server imports no files or the place cannot be written."""
    if store.is_lite:
        raise TandemError(
            f"Milvus at {store.uri} is Milvus Lite, which imports no files.",
            "retrieval.milvus.bulk_import is for a Milvus server or cluster.",
            "Remove retrieval.milvus.bulk_import, or set retrieval.uri to a server.",
        )
    staging, folder = _opened(place, "")
    with _explained(place):
        probe = f"{folder}/tandem-probe".lstrip("/")
        staging.put(probe, b"")
        staging.delete(probe)


def _is_url(place: str) -> bool:
    return "://" in place


def _opened(place: str, physical: str) -> "tuple[ObjectStore, str]":
    """What is written to, and the folder in it, which Milvus sees under the same name."""
    from obstore.store import LocalStore

    if _is_url(place):
        bucket, path = clouds.open_source_bucket(place)
        return bucket, "/".join(filter(None, [path, physical]))
    with _explained(place):
        return LocalStore(Path(place), mkdir=True), physical


@contextmanager
def _explained(place: str) -> Iterator[None]:
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, OSError) as error:
        raise TandemError(
            f"{place} cannot be written: {failure_reason(error)}.",
            "retrieval.milvus.bulk_import is a folder that this process writes and the Milvus servers read under the "
            "same path, or a URL in the bucket that they keep their data in.",
            "Correct the place or its rights (for a bucket the credentials in the environment), or remove the setting.",
        ) from error


def _failed(place: str, path: str, reason: str) -> TandemError:
    seen = f"{urlsplit(place).path.strip('/')}: " if _is_url(place) else ""
    return TandemError(
        f"Milvus could not import {path} from {place}: {seen}{reason.rstrip('.')}.",
        "retrieval.milvus.bulk_import is a folder that the Milvus servers see under the same path, or a URL in the "
        "bucket that they keep their data in.",
        "Correct retrieval.milvus.bulk_import or remove it; what was imported stays, and the next run goes on.",
    )
