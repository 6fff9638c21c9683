"""A live search engine: what it is asked, what is taken from its answer, and its failures."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.errors import TandemError
from retrieval.config import LiveConfig
from retrieval.errors import RetrievalUnavailable
from retrieval.filters.filters import And, FieldComparison, Filter, In, Not, Or
from retrieval.filters.rights import NOBODY, Rights
from retrieval.search.live_engine import KEY_VARIABLE, MAX_ANSWER_BYTES, LiveEngine
from retrieval.search.live_query import MAX_WORDS, NotTranslatable, request_body
from tests.retrieval.live_engine import Engine, serving

DOCUMENTS = {
    "1": {"title": "Leave", "text": "Everybody has thirty days of leave.", "year": 2024, "team": "hr"},
    "2": {"title": "Leave at Acme", "text": "At Acme the leave is forty days.", "tenant": "acme", "year": 2023},
    "3": {"title": "Leave of managers", "text": "Managers have fifty days of leave.", "access": ["managers", "hr"]},
    "4": {"title": "Leave at Acme's board", "text": "The board's leave.", "tenant": "acme", "access": "board"},
    "5": {"title": "Printers", "text": "The code XQ-7714 means that the paper tray is empty."},
}
RIGHTS = {"tenant_field": "tenant", "access_field": "access"}


@pytest.fixture
def engine() -> Iterator[Engine]:
    with serving(Engine(DOCUMENTS)) as engine:
        yield engine


def live(engine: Engine, **settings: Any) -> LiveEngine:
    return LiveEngine(LiveConfig(url=engine.url, index="docs", **settings))


def found(
    engine: Engine, question: str = "leave", rights: Rights = NOBODY, where: Filter | None = None, **settings: Any
) -> set[str]:
    return {each.id.rsplit("/", 1)[1] for each in live(engine, **settings).search(question, rights, where)}


def test_documents_are_found_with_the_engines_scores(engine: Engine) -> None:
    first, *others = live(engine).search("What does XQ-7714 mean?", NOBODY, None)
    assert (first.id, first.source, first.position) == ("live:docs/5", "docs/5", 0)
    assert first.content == "Printers\nThe code XQ-7714 means that the paper tray is empty."
    assert first.score > max([0.0, *(each.score for each in others)])


def test_a_question_is_data_and_never_syntax(engine: Engine) -> None:
    for question in (
        'leave" } ], "filter": [',
        "title:* OR _exists_:tenant",
        "leave\n\0\ud7ff {{}} ${x} é",
        "* -leave",
    ):
        live(engine).search(question, NOBODY, None)
        (must,) = engine.asked[-1]["body"]["query"]["bool"]["must"]
        assert must == {"multi_match": {"query": " ".join(question.split()), "fields": ["text", "title"]}}
    body = request_body(live(engine).config, "word " * 5000, NOBODY, None)
    assert len(body["query"]["bool"]["must"][0]["multi_match"]["query"].split()) == MAX_WORDS


def test_the_name_of_an_index_is_no_path() -> None:
    for index in ("../_cluster", "a/b", "_all", "a?b", "", "A", "a,b"):
        with pytest.raises(ValidationError):
            LiveConfig(url="http://engine:9200", index=index)
    for url in ("engine:9200", "http://user:password@engine", "http://engine/?x=1", "file:///etc"):
        with pytest.raises(ValidationError):
            LiveConfig(url=url, index="docs")


@pytest.mark.parametrize("obeys", [True, False], ids=["the engine filters", "the engine lets everything through"])
@pytest.mark.parametrize(
    ("rights", "expected"),
    [
        (NOBODY, {"1"}),
        (Rights("acme"), {"1", "2"}),
        (Rights("acme", frozenset(["board"])), {"1", "2", "4"}),
        (Rights("globex", frozenset(["board", "hr"])), {"1", "3"}),
        (Rights("acme corp"), {"1"}),
    ],
)
def test_rights_hold_whatever_the_engine_does(engine: Engine, rights: Rights, expected: set[str], obeys: bool) -> None:
    engine.obeys = obeys
    assert found(engine, rights=rights, **RIGHTS) == expected


def test_without_configured_fields_documents_are_for_everybody(engine: Engine) -> None:
    assert found(engine) == {"1", "2", "3", "4"}
    assert engine.asked[-1]["body"]["query"]["bool"]["filter"] == []


YEAR, TEAM = {"year": "year"}, {"year": "year", "team": "team"}


@pytest.mark.parametrize("obeys", [True, False])
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (FieldComparison("metadata.year", "==", 2024), {"1"}),
        (FieldComparison("metadata.year", "==", "2024"), set()),
        (FieldComparison("metadata.year", "!=", 2024), {"2", "3", "4"}),
        (FieldComparison("metadata.year", "<", 2024), {"2"}),
        (In("metadata.year", (2023, 2024)), {"1", "2"}),
        (Not(In("metadata.year", (2023, 2024))), {"3", "4"}),
        (And((FieldComparison("metadata.year", ">=", 2024), FieldComparison("metadata.team", "==", "hr"))), {"1"}),
        (Or((FieldComparison("metadata.year", "<=", 2023), FieldComparison("metadata.team", "==", "hr"))), {"1", "2"}),
        (
            Not(And((FieldComparison("metadata.team", "==", "hr"), FieldComparison("metadata.year", ">", 2000)))),
            {"2", "3", "4"},
        ),
    ],
)
def test_filters_mean_what_they_mean_in_the_index(
    engine: Engine, where: Filter, expected: set[str], obeys: bool
) -> None:
    engine.obeys = obeys
    assert found(engine, where=where, metadata_fields=TEAM) == expected


def test_a_filter_on_what_the_engine_does_not_have_is_refused(engine: Engine) -> None:
    for field in ("metadata.team", "source", "position", "tenant"):
        with pytest.raises(NotTranslatable, match="which the live engine's documents do not have"):
            found(
                engine,
                where=Not(FieldComparison(field, "==", "hr" if field != "position" else 1)),
                metadata_fields=YEAR,
            )
    assert engine.asked == []
    with pytest.raises(TandemError, match="malformed"):
        found(engine, where=And(()), metadata_fields=YEAR)


def test_the_key_comes_from_the_environment(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    engine.key = "ApiKey s3cret"
    with pytest.raises(RetrievalUnavailable, match=r"refuses the key \(HTTP 401\).*SEARCH_API_KEY") as refused:
        found(engine)
    monkeypatch.setenv(KEY_VARIABLE, "s3cret")
    assert found(engine)
    monkeypatch.setenv(KEY_VARIABLE, "wrong")
    with pytest.raises(RetrievalUnavailable) as refused:
        found(engine)
    assert "wrong" not in str(refused.value)
    engine.key = "Basic dXNlcjpwYXNz"
    monkeypatch.setenv(KEY_VARIABLE, "user:pass")
    assert found(engine)


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", b"[]", b"null", b'{"hits": {}}', b'{"hits": {"hits": [1]}}', b'{"hits": {"hits": [{}]}}',
     b'{"hits": ' + b"[" * 100_000, b"\xff\xfe"],
)  # fmt: skip
def test_what_is_no_answer_is_said(engine: Engine, raw: bytes) -> None:
    engine.raw = raw or b" "
    with pytest.raises(RetrievalUnavailable, match="answers something else than hits"):
        found(engine)


def test_odd_documents_are_left_out_or_shortened(engine: Engine) -> None:
    engine.documents = {
        "empty": {"title": "leave", "text": "  "}, "number": {"title": "leave", "text": 7},
        "long": {"title": "leave\nof\tabsence", "text": "leave " * 100_000}, "many": {"text": ["leave", "of"]},
    }  # fmt: skip
    hits = {each.source: each for each in live(engine).search("leave", NOBODY, None)}
    assert set(hits) == {"docs/long", "docs/many"}
    assert hits["docs/long"].content.startswith("leave of absence\nleave leave")
    assert len(hits["docs/long"].content) < 1100
    assert hits["docs/many"].content == "docs/many\nleave\nof"


def test_an_answer_that_is_too_large_is_not_read(engine: Engine) -> None:
    engine.raw = b" " * (MAX_ANSWER_BYTES + 1)
    with pytest.raises(RetrievalUnavailable, match="answers with more than"):
        live(engine, timeout_s=10).search("leave", NOBODY, None)


def test_errors_of_the_engine_are_named(engine: Engine) -> None:
    engine.status = 503
    with pytest.raises(RetrievalUnavailable, match="HTTP 503 for the index docs"):
        found(engine)
    with pytest.raises(RetrievalUnavailable, match="HTTP 404 for the index other"):
        LiveEngine(LiveConfig(url=engine.url, index="other")).search("leave", NOBODY, None)


def test_an_engine_that_is_down_or_slow_ends_in_time(engine: Engine) -> None:
    engine.delay_s = 5.0
    started = time.monotonic()
    with pytest.raises(RetrievalUnavailable, match=r"does not answer \(ReadTimeout\).*within 0\.3 seconds"):
        found(engine, timeout_s=0.3)
    with pytest.raises(RetrievalUnavailable, match="does not answer"):
        LiveEngine(LiveConfig(url="http://127.0.0.1:9", index="docs", timeout_s=0.3)).search("leave", NOBODY, None)
    assert time.monotonic() - started < 2


def test_an_answer_that_drips_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_drip, args=(listening,), daemon=True).start()
        config = LiveConfig(url=f"http://127.0.0.1:{listening.getsockname()[1]}", index="docs", timeout_s=0.4)
        started = time.monotonic()
        with pytest.raises(RetrievalUnavailable, match="does not end its answer"):
            LiveEngine(config).search("leave", NOBODY, None)
        assert time.monotonic() - started < 2


def _drip(listening: socket.socket) -> None:
    """One byte each tenth of a second, for five seconds."""
    connection, _ = listening.accept()
    with connection:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        for _ in range(50):
            time.sleep(0.1)
            try:
                connection.sendall(b" ")
            except OSError:
                return
