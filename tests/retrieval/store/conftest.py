from collections.abc import Iterator

import pytest

from retrieval.store.store import Store


@pytest.fixture(params=["milvus", "server"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Milvus Lite, then a Milvus server."""
    opened = Store(request.getfixturevalue(request.param), timeout_s=30)
    yield opened
    opened.close()
