"""Drafts that a model writes: believed only where it quotes, checked by asking it, and an endpoint that dies."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from evaluation.drafts.documents import Documents, DraftDocument
from evaluation.drafts.draft_files import Draft
from evaluation.drafts.drafting import draft_questions
from evaluation.drafts.prose import DraftPassage, DraftWriter, check_reply, find_passages


def document(text: str, source: str = "a.md") -> DraftDocument:
    return DraftDocument(source, Path(source), text)


def prose(number: int) -> DraftDocument:
    text = f"Room {number} was built in the year of {1900 + number}, when few\n  people read long books in the evening."
    return document(f"# Room {number}\n\n{text}\n", f"{number}.md")


QUOTE = "was built in the year of 1901, when few people"


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ({"question": "When?", "answer": "1901", "quote": QUOTE}, None),
        ({"question": "When?", "answer": 1901, "quote": QUOTE}, None),
        ({"question": "When?", "answer": "1901", "quote": "built in 1901, when few people"}, "quote is not in"),
        ({"question": "When?", "answer": "190", "quote": QUOTE}, "answer is not in"),
        ({"question": "When?", "answer": "1902", "quote": QUOTE}, "answer is not in"),
        ({"question": " ", "answer": "1901", "quote": "of 1901"}, "is empty"),
        ({"question": "When?", "answer": "1901", "quote": ""}, "quote is not in"),
        ({"question": ["When?"], "answer": "1901", "quote": QUOTE}, "not the JSON"),
        (["When?"], "not the JSON"),
        ("I cannot do that.", "not the JSON"),
    ],
)
@pytest.mark.parametrize(
    "wrapped", ["{}", "Here it is:\n```json\n{}\n```", '<think>{{"question": 1}} or {{x}}?</think>\n{}\nWell?']
)
def test_a_draft_is_kept_only_where_quote_and_answer_stand(reply: Any, found: str | None, wrapped: str) -> None:
    (passage,) = find_passages(prose(1))
    text = reply if isinstance(reply, str) else wrapped.format(json.dumps(reply))
    checked = check_reply(passage, text, "p")
    if found is not None:
        assert isinstance(checked, str)
        assert found in checked
        return
    assert isinstance(checked, Draft)
    assert checked.span
    quoted = passage.document.text[checked.span.start : checked.span.end]
    assert " ".join(quoted.split()) == QUOTE == checked.reference
    assert checked.approved is None


def test_passages_are_prose_below_one_heading() -> None:
    paragraph = "One two three four five six seven eight nine ten eleven twelve."
    text = (
        f"---\ntitle: x\n---\n# Title\n\n{paragraph}\n\nShort.\n\n- {paragraph}\r\n\r\n## Next\n\n```\n{paragraph}\n```"
        f"\n\n> {paragraph}\n\n{'word ' * 400}\n"
    )
    joined, long = find_passages(document(text))
    assert joined.text.split() == f"{paragraph} Short. - {paragraph}".split()
    assert (joined.title, long.title) == ("Title", "Title: Next")
    assert len(long.text) == 1499
    assert DraftPassage(document("abc"), 1, 2).text == "b"


@contextmanager
def endpoint(answer: Callable[[int, str], str | None], limit: int | None = None) -> Iterator[str]:
    """An OpenAI-compatible server; `answer` gets the call's number and the prompt; None is a 422.

    More than `limit` tokens are refused."""
    calls, lock = iter(range(10**6)), Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if limit is not None and body.get("max_tokens", 0) > limit:
                self.send_error(400, "This model's maximum context length is 2048 tokens.")
                return
            with lock:
                text = answer(next(calls), body["messages"][0]["content"])
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
            value = {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
            content = json.dumps({"error": {"message": "gone"}} if text is None else value).encode()
            self.send_response(422 if text is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()


def well(call: int, prompt: str) -> str:
    """Drafts from the passage, finds the year in it, and knows nothing without it."""
    if "Passage:" not in prompt:
        return "I do not know."
    year = prompt.split("in the year of ")[1][:4]
    if "Question:" in prompt:
        return year
    number = int(year) - 1900
    quote = f"Room {number} was built in the year of {year}"
    return json.dumps({"question": f"When was room {number} built?", "answer": year, "quote": quote})


def documents_of(number: int) -> Documents:
    return Documents(tuple(prose(each) for each in range(number)), ())


def written(drafts: list[Draft]) -> list[Draft]:
    return [draft for draft in drafts if draft.slice == "prose"]


def test_a_model_drafts_from_prose_until_there_are_enough() -> None:
    with endpoint(well) as url:
        drafted = draft_questions(documents_of(30), 12, DraftWriter(url, "m", concurrency=4))
    assert len(drafted.drafts) == 12
    assert len(written(drafted.drafts)) >= 6
    for each in written(drafted.drafts):
        assert each.answers[0] in (each.reference or "")
        assert (each.with_passage, each.without_passage) == (each.answers[0], "I do not know.")
        assert each.as_question().model_dump(exclude_unset=True).keys().isdisjoint({"with_passage", "span", "approved"})
    assert not +drafted.left_out


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        ("Passage:", "in 1066", "the model does not find the answer in the passage"),
        ("Passage:", "I do not know.", "the model does not find the answer in the passage"),
        ("as few words", "{year}", "the model knows the answer without the passage"),
    ],
)
def test_what_the_model_does_not_find_or_knows_anyway_is_left_out(kind: str, answer: str, reason: str) -> None:
    def half(call: int, prompt: str) -> str:
        asked = "Question:" in prompt
        if asked and kind in prompt and "room 1" in prompt.rpartition("Question:")[2]:
            number = int(prompt.rpartition("room ")[2].split()[0])
            return answer.format(year=1900 + number)
        return well(call, prompt)

    with endpoint(half) as url:
        drafted = draft_questions(documents_of(20), 30, DraftWriter(url, "m", concurrency=2))
    assert drafted.left_out[reason] == 11  # rooms 1 and 10 to 19
    assert len(written(drafted.drafts)) == 9


def test_what_is_not_as_it_should_be_is_counted_and_others_fill_up() -> None:
    def half(call: int, prompt: str) -> str | None:
        return (
            (None, "no JSON", well(call, prompt), well(call, prompt))[call % 4]
            if "Write one" in prompt
            else well(call, prompt)
        )

    with endpoint(half) as url:
        drafted = draft_questions(documents_of(40), 16, DraftWriter(url, "m", concurrency=1))
    assert len(written(drafted.drafts)) == 8
    assert drafted.left_out["the call failed"] >= 1
    assert drafted.left_out["the reply is not the JSON that was asked for"] >= 1
    assert drafted.gave_up is None


def test_a_model_with_little_room_is_asked_without_a_limit() -> None:
    with endpoint(well, limit=1024) as url:
        drafted = draft_questions(documents_of(20), 12, DraftWriter(url, "m", concurrency=2))
    assert len(written(drafted.drafts)) == 6
    assert not +drafted.left_out


def test_an_endpoint_that_dies_keeps_what_was_drafted() -> None:
    with endpoint(lambda call, prompt: well(call, prompt) if call < 18 else None) as url:
        drafted = draft_questions(documents_of(40), 80, DraftWriter(url, "m", concurrency=1))
    assert len(written(drafted.drafts)) == 6
    assert drafted.left_out["the call failed"] == 5
    assert drafted.gave_up
    assert "422" in drafted.gave_up


def test_an_endpoint_that_is_not_there_is_given_up() -> None:
    drafted = draft_questions(documents_of(40), 80, DraftWriter("http://127.0.0.1:9/v1", "m", concurrency=1))
    assert (written(drafted.drafts), drafted.left_out["the call failed"]) == ([], 5)
    assert drafted.gave_up
    assert "could not be reached" in drafted.gave_up
