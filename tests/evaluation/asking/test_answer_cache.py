"""Kept answers: what is asked again and what is not, after an end of any kind."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cluster.errors import TandemError
from evaluation.arms import make_arms
from evaluation.asking.answer_cache import AnswerCache
from evaluation.asking.ask import CollectedReplies, ask_all
from evaluation.asking.turns import Turn, answer_key, turn_body
from evaluation.config import EvaluationConfig
from evaluation.questions.question import Question
from evaluation.replies import CitedSource, Reply
from tests.evaluation.endpoint import Endpoint, completion

ARMS = make_arms(("base", "retrieval"), collection="demo")
QUESTIONS = [Question(id=f"q{n}", slice="s", question=f"What is {n}?", answers=(str(n),)) for n in range(40)]
VERSIONS = {"base": "weights-1", "retrieval": "weights-1 index-1"}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    source = {"index": 1, "source": "a.md", "title": "A", "cited": True, "text": "It says so."}
    started = Endpoint(
        lambda model, text: completion(model, f"It is {text}", [source] if "+" in model else None)
    ).start()
    yield started
    started.shutdown()
    started.server_close()


def ask(folder: Path, endpoint: Endpoint, versions: dict[str, str] = VERSIONS, **settings: Any) -> CollectedReplies:
    config = EvaluationConfig(**settings)
    with closing(AnswerCache(folder / "answers.sqlite")) as answers:
        return ask_all(config, endpoint.url, ARMS, QUESTIONS, lambda line: None, answers, versions)


def test_what_is_known_is_not_asked_again(tmp_path: Path, endpoint: Endpoint) -> None:
    first = ask(tmp_path, endpoint)
    num_asked = len(endpoint.asked)
    assert num_asked == 2 + 80
    second = ask(tmp_path, endpoint)
    assert len(endpoint.asked) == num_asked, "not even a warm-up"
    assert second.replies == first.replies
    assert second.reused == {"base": 40, "retrieval": 40}


def test_a_kept_answer_costs_what_it_did_when_it_was_given(tmp_path: Path, endpoint: Endpoint) -> None:
    """Asked one after the other and again as many at once, it is not cheaper for having been known."""
    respond = endpoint.respond

    def slowly(model: str, text: str) -> tuple[int, object]:
        time.sleep(0.002)
        return respond(model, text)

    endpoint.respond = slowly
    first, again = (ask(tmp_path, endpoint, concurrency=number) for number in (1, 64))
    assert again.reused == {"base": 40, "retrieval": 40}
    for name in VERSIONS:
        times = [
            [reply.machine_s for question in QUESTIONS for reply in asked.of("first", question.id, name)]
            for asked in (first, again)
        ]
        assert times[0] == times[1] and all(each and each >= 0.002 for each in times[0])


def test_an_answer_that_an_earlier_version_kept_has_no_machine_time(tmp_path: Path) -> None:
    with closing(AnswerCache(tmp_path / "answers.sqlite")) as answers:
        answers.put("key", Reply(text="42", latency_s=0.1, machine_s=0.05))
        answers._db.execute("UPDATE answer SET reply = ?", ('{"text": "42", "latency_s": 0.1}',))
        assert answers.get("key") == Reply(text="42", latency_s=0.1)


@pytest.mark.parametrize(
    ("versions", "settings", "num_more"),
    [
        ({"base": "weights-1", "retrieval": "weights-1 index-2"}, {}, 1 + 40),
        ({"base": "weights-2", "retrieval": "weights-2 index-1"}, {}, 2 + 80),
        ({"base": "weights-1"}, {}, 1 + 40),
        (VERSIONS, {"max_tokens": 65}, 2 + 80),
        (VERSIONS, {"temperature": 0.5}, 2 + 80),
        (VERSIONS, {"repeats": 1}, 2 + 80),
        (VERSIONS, {"concurrency": 3, "timeout_s": 20.0, "seed": 7}, 0),
    ],
)
def test_only_what_changes_an_answer_has_it_asked_again(
    tmp_path: Path, endpoint: Endpoint, versions: dict[str, str], settings: dict[str, float], num_more: int
) -> None:
    ask(tmp_path, endpoint)
    num_asked = len(endpoint.asked)
    ask(tmp_path, endpoint, versions, **settings)
    assert len(endpoint.asked) - num_asked == num_more


def test_a_failure_is_not_kept(tmp_path: Path, endpoint: Endpoint) -> None:
    respond = endpoint.respond
    endpoint.respond = lambda model, text: (
        (503, {"error": {"message": "full"}}) if text.endswith("7?") else respond(model, text)
    )
    broken = ask(tmp_path, endpoint, retries={"max_tries": 1})
    assert (
        sum(reply.failed is not None for found in broken.replies["first"].values() for (reply,) in found.values()) == 8
    )
    endpoint.respond = respond
    num_asked = len(endpoint.asked)
    mended = ask(tmp_path, endpoint)
    assert len(endpoint.asked) - num_asked == 2 + 8
    assert all(reply.failed is None for found in mended.replies["first"].values() for (reply,) in found.values())


def test_an_answer_that_was_kept_before_the_arm_was_renamed_is_found() -> None:
    arm, *_ = make_arms(("tuned_retrieval",), tuned="base:demo@1", collection="demo")
    turn = Turn(arm, Question(id="q", slice="s", question="What is 1?", answers=("1",)), "What is 1?")
    # The key that the version before made for its arm `hybrid`.
    old = "ad1f6732da5e4eb030551fca06afa4c890c62545797aa7bf573dfa8e30476cf0"
    assert answer_key(turn, turn_body(EvaluationConfig(), turn), {"tuned_retrieval": "weights-1 index-1"}) == old


ASKING = """
import sys, time
from pathlib import Path
from tests.evaluation.asking.test_answer_cache import *
endpoint = type("There", (), {"url": sys.argv[1]})
ask(Path(sys.argv[2]), endpoint, concurrency=1)
"""


def test_a_killed_comparison_goes_on_where_it_stopped(tmp_path: Path, endpoint: Endpoint) -> None:
    respond = endpoint.respond

    def slowly(model: str, text: str) -> tuple[int, object]:
        time.sleep(0.05)
        return respond(model, text)

    endpoint.respond = slowly
    process = subprocess.Popen([sys.executable, "-c", ASKING, endpoint.url, str(tmp_path)])
    while len(endpoint.asked) < 60:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    time.sleep(0.2)
    num_asked = len(endpoint.asked)
    endpoint.respond = respond
    asked = ask(tmp_path, endpoint)
    assert len(asked.replies["first"]) == 40
    assert sum(asked.reused.values()) >= num_asked - 2 - 30, "what was answered a second before is kept"
    assert len(endpoint.asked) - num_asked <= 2 + 80 - sum(asked.reused.values())


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\x00" + bytes(4096)])
def test_a_damaged_file_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "answers.sqlite"
    path.write_bytes(content)
    with closing(AnswerCache(path)) as answers:
        answers.put("key", Reply(text="42", latency_s=0.1))
        assert answers.get("key") == Reply(text="42", latency_s=0.1)


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    answers = AnswerCache(tmp_path / "answers.sqlite")
    answers._db.execute("PRAGMA max_page_count = 8")
    with pytest.raises(TandemError, match=r"disk is full.*Make room") as raised:
        for number in range(1000):
            answers.put(str(number), Reply(text="x" * 1000))
    assert raised.value.__cause__ is not None


def test_a_folder_without_rights_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TandemError, match="cannot be read or written"):
        AnswerCache(tmp_path / "file" / "answers.sqlite")


def test_what_was_read_from_a_forgotten_document_goes(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with closing(AnswerCache(path)) as answers:
        cited = CitedSource(index=1, source="secret.md", title="S", cited=False, text="a secret", also_in=["copy.md"])
        answers.put("one", Reply(text="42", citations=[cited]))
        answers.put("two", Reply(text="43"))
        assert answers.forget("copy.md") == 1
        assert (answers.get("one"), answers.get("two")) == (None, Reply(text="43"))
        assert answers.forget("other.md") == 0
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM passage").fetchone() == (0,)
    assert b"a secret" not in path.read_bytes()
