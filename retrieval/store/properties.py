"""The collections of a server by their names, and the properties that are kept with each."""

import time
from collections.abc import Mapping
from typing import Any

from retrieval.errors import RequestRefused
from retrieval.store.connection import COLLECTION_NOT_FOUND, explained_connection, make_empty
from retrieval.store.retries import retry_patiently

LIST_WAITS_S = (0.05, 0.2, 1.0, None)


class Properties:
    """What a store does with collections as a whole. Every call may be repeated, and is while the server is away."""

    uri: str
    client: Any
    timeout_s: float
    write_s: float
    patience_s: float
    gone_since: float | None

    @retry_patiently
    def names(self) -> list[str]:
        """The names of all collections of the server, also of those that others built."""
        for wait_s in LIST_WAITS_S:
            try:
                with explained_connection(self.uri):
                    return list(self.client.list_collections(timeout=self.timeout_s))
            except RequestRefused as refused:
                # Milvus Lite lists the names first and then looks at each: one may have been dropped in between.
                if wait_s is None or not _says_missing(refused):
                    raise
                time.sleep(wait_s)
        raise AssertionError("the last try returns or raises")

    @retry_patiently
    def properties(self, physical: str) -> dict[str, str] | None:
        """What is kept with a collection; None where there is no such collection."""
        try:
            with explained_connection(self.uri):
                described = self.client.describe_collection(physical, timeout=self.timeout_s)
        except RequestRefused as refused:
            if _says_missing(refused):
                return None
            raise
        return {str(name): str(value) for name, value in (described.get("properties") or {}).items()}

    @retry_patiently
    def set_properties(self, physical: str, properties: Mapping[str, str]) -> None:
        """Keep these with a collection too; others stay as they are."""
        with explained_connection(self.uri):
            self.client.alter_collection_properties(physical, dict(properties), timeout=self.timeout_s)

    @retry_patiently
    def create_empty(self, physical: str, properties: Mapping[str, str]) -> None:
        """A collection that holds nothing but its properties. Its name must be one that nobody else chooses."""
        try:
            with explained_connection(self.uri):
                make_empty(self.client, physical, properties, self.write_s)
        except RequestRefused:
            # The answer to an earlier try may have been lost.
            if self.properties(physical) != dict(properties):
                raise

    @retry_patiently
    def remove(self, physical: str) -> None:
        """Drop a collection, if it is there."""
        try:
            with explained_connection(self.uri):
                self.client.drop_collection(physical, timeout=self.write_s)
        except RequestRefused as refused:
            if not _says_missing(refused):
                raise


def _says_missing(refused: RequestRefused) -> bool:
    words = refused.seen.lower()
    return refused.code == COLLECTION_NOT_FOUND or any(
        each in words for each in ("not exist", "not found", "no such file")
    )
