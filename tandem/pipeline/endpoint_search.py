"""A search asked of the project's endpoint where that runs: it has the model loaded and the store open.

    result = search_at_endpoint(project, question, top_k, rights, condition)

The endpoint's answer is used only where this process would have found the same: the same settings and store, the same
version of Tandem, and the rights that are asked for. Whatever else it says, and where it says nothing in time, raises
NotAnswered, and the search is done here.
"""

import http.client
import json
import os
from typing import Any

from retrieval.filters.rights import Rights
from retrieval.search.hits import Hit, Scores
from retrieval.search.search import SearchResult, digest_search_settings
from retrieval.store.milvus_lite import running_server
from serving.api.requests import MAX_RESULTS
from tandem.project.project import Project

CONNECT_S = 0.3
ANSWER_S = 2.0
MAX_ANSWER_BYTES = 16 * 2**20


class NotAnswered(Exception):
    """Why the endpoint's answer cannot be used."""


def search_at_endpoint(
    project: Project, question: str, top_k: int | None, rights: Rights, condition: Any = None, collection: str = ""
) -> SearchResult:
    """What the endpoint finds.

    Args:
        condition: the filter as JSON.
        collection: the project's where it is empty.

    Raises:
        NotAnswered: there is none, it does not answer in time, or its answer is not that of this project.
    """
    uri = _store_uri(project)
    top_k = top_k or project.retrieval.top_k
    if not 1 <= top_k <= MAX_RESULTS:
        raise NotAnswered(f"it gives at most {MAX_RESULTS} passages")
    body = {"query": question, "max_num_results": top_k, "filters": condition, "details": True}
    answer = _posted(project, f"/v1/vector_stores/{collection or project.collection}/search", body)
    try:
        details = answer["details"]
        if details["settings"] != digest_search_settings(project.retrieval, uri):
            raise NotAnswered("it was started with other settings or another version of Tandem")
        if (details["tenant"], frozenset(details["labels"])) != (rights.tenant, rights.labels):
            raise NotAnswered("it searches with the rights of another caller")
        return _result(details)
    except (KeyError, TypeError, AttributeError) as error:
        raise NotAnswered("it answered with something else than a search") from error


def _store_uri(project: Project) -> str:
    """The address that an endpoint of this project searches at. Milvus Lite runs for as long as it serves."""
    if not project.retrieves:
        raise NotAnswered("the project has no documents")
    if project.retrieval.uri != "local":
        return project.retrieval.uri
    if (address := running_server(project.storage.milvus)) is None:
        raise NotAnswered("nothing uses the project's Milvus Lite")
    return address.uri


def _posted(project: Project, path: str, body: Any) -> Any:
    serving = project.serving
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("TANDEM_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    connection = http.client.HTTPConnection(serving.own_host, serving.port, timeout=CONNECT_S)
    try:
        connection.connect()
        connection.sock.settimeout(ANSWER_S)
        connection.request("POST", path, json.dumps(body).encode(), headers)
        response = connection.getresponse()
        text = response.read(MAX_ANSWER_BYTES)
        if response.status != 200:
            raise NotAnswered(f"it answered with status {response.status}")
        return json.loads(text)
    except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
        raise NotAnswered(f"it did not answer: {str(error) or type(error).__name__}") from error
    finally:
        connection.close()


def _result(details: dict[str, Any]) -> SearchResult:
    hits = [
        Hit(**{**hit, "scores": Scores(**hit["scores"]), "also_in": tuple(hit["also_in"])}) for hit in details["hits"]
    ]
    timings = {name: value for name, value in details["timings"].items() if name != "took_ms"}
    return SearchResult(hits, **timings, missing=details["missing"])
