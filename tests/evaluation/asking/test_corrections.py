"""A correction while the endpoint answers: what follows, how soon, and what stays stale."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.errors import TandemError
from evaluation.arms import make_arms
from evaluation.asking.corrections import Correction, load_corrections, watch_answers
from evaluation.config import EvaluationConfig
from evaluation.results import Freshness
from evaluation.verdicts.freshness import freshness_of
from tests.evaluation.endpoint import Endpoint, completion

ARMS = make_arms(("base", "tuned", "retrieval"), tuned="base:demo@1", collection="demo")
CORRECTIONS = [
    Correction(source=f"{name}.md", find="26", replace="62", question=f"What is {name}?", old=("26",), new=("62",))
    for name in ("iron", "gold")
]


@pytest.fixture
def indexed() -> Iterator[threading.Event]:
    yield threading.Event()


@pytest.fixture
def endpoint(indexed: threading.Event) -> Iterator[Endpoint]:
    """Retrieval follows the index, the tuned model remembers, the base knows nothing."""

    def respond(model: str, question: str) -> tuple[int, object]:
        if "+" in model:
            return completion(model, "It is 62." if indexed.is_set() else "It is 26.")
        return completion(model, "It is 26." if ":" in model else "I do not know.")

    started = Endpoint(respond).start()
    yield started
    started.shutdown()
    started.server_close()


def watched(
    endpoint: Endpoint, indexed: threading.Event, after_s: float, limit_s: float = 20.0
) -> dict[str, Freshness]:
    def correct() -> None:
        time.sleep(after_s)
        indexed.set()

    config = EvaluationConfig(freshness_limit_s=limit_s)
    answers = watch_answers(config, endpoint.url, ARMS, CORRECTIONS, correct, lambda line: None)
    return {each.arm: each for each in freshness_of(answers)}


def test_retrieval_follows_and_the_tuned_arm_stays_stale(endpoint: Endpoint, indexed: threading.Event) -> None:
    found = watched(endpoint, indexed, after_s=1.0)
    retrieval, tuned, base = (found[name] for name in ("retrieval", "tuned", "base"))
    assert (retrieval.new.right, retrieval.stale.right, retrieval.num_questions) == (2, 0, 2)
    assert retrieval.seconds is not None and 1.0 <= retrieval.seconds <= (retrieval.all_seconds or 0) < 10
    assert (tuned.new.right, tuned.stale.right, tuned.seconds) == (0, 2, None)
    assert (base.new.right, base.stale.right) == (0, 0)


def test_what_never_follows_is_waited_for_up_to_the_limit(endpoint: Endpoint) -> None:
    started = time.monotonic()
    found = watched(endpoint, threading.Event(), after_s=0.0, limit_s=1.5)
    assert 1.5 <= time.monotonic() - started < 10
    assert (found["retrieval"].stale.right, found["retrieval"].seconds, found["retrieval"].all_seconds) == (
        2,
        None,
        None,
    )


def test_an_index_that_fails_is_said(endpoint: Endpoint) -> None:
    def correct() -> None:
        raise TandemError("Milvus cannot be reached.", "A store.", "Start it.")

    with pytest.raises(TandemError, match="Milvus cannot be reached"):
        watch_answers(EvaluationConfig(), endpoint.url, ARMS, CORRECTIONS, correct, lambda line: None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no corrections"),
        ("{", "corrections.jsonl:1"),
        ('{"source": "a.md"}', "corrections.jsonl:1: find"),
        ('{"source": "a.md", "find": " ", "replace": "", "question": "?", "old": ["1"], "new": ["2"]}', "find"),
    ],
)
def test_a_file_that_cannot_be_used_names_its_line(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "corrections.jsonl"
    path.write_text(content)
    with pytest.raises(TandemError, match=said):
        load_corrections(path)
